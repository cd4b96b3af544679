"""Decodes the output tensors of a detector to `Detections`, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import ModelError
from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.models.detections.nms import non_maximum_suppression
from fluxshard.models.loading.loaded_model import HeadLayout


def decode(
    outputs: Any,
    layout: HeadLayout,
    shape: tuple[int, int],
    *,
    confidence: float = 0.25,
    iou: float = 0.7,
    limit: int = 300,
    owns: bool = False,
) -> Detections:
    """Decodes the outputs of a network to detections.

    Source: the output heads of Ultralytics YOLO (nn/modules/head.py) and its `non_max_suppression`.

    Args:
      outputs: outputs of the network: the prediction tensor, or a tuple that starts with it (and the mask prototypes).
      layout: layout of the prediction tensor's channels.
      shape: (H, W) of the network's input.
      confidence: scores must be above it.
      iou: overlap above which non-maximum suppression drops the lower score.
      limit: maximum number of detections.
      owns: nobody writes to the outputs afterwards, so masks keep the tensor of prototypes, and not a copy of it.

    Returns:
      detections in pixels of the network's input, in descending order of score.

    Raises:
      ModelError: the shapes of the tensors do not match the layout.
    """
    tensor, prototypes = _tensors(outputs)
    expected = 6 if layout.is_end_to_end else 4 + layout.classes
    channels = tensor.shape[2 if layout.is_end_to_end else 1] if tensor.ndim == 3 else 0
    if tensor.shape[:1] != (1,) or channels != expected + layout.extra:
        raise ModelError(
            f"the model returned {tensor.shape}; a {layout.task!r} model of {layout.classes} classes has "
            f"{expected + layout.extra} channels"
        )
    if layout.is_end_to_end:
        boxes, scores, classes, extra = _rows(tensor[0], confidence)
        keep = np.argsort(-scores, kind="stable")[:limit]
    else:
        boxes, scores, classes, extra = _candidates(tensor[0], layout.classes, confidence)
        keep = non_maximum_suppression(boxes, scores, classes, iou, limit)
    found = Detections(boxes[keep], scores[keep], classes[keep], shape)
    return _with_extra(found, extra[keep], layout, prototypes, owns=owns)


def _with_extra(
    found: Detections,
    extra: NDArray[np.float32],
    layout: HeadLayout,
    prototypes: NDArray[np.float32] | None,
    *,
    owns: bool,
) -> Detections:
    """Adds the masks or keypoints that the channels behind the class scores encode.

    Raises:
      ModelError: the mask prototypes do not match the layout.
    """
    masks = keypoints = None
    if layout.task == "pose" and layout.keypoint_shape is not None:
        keypoints = extra.reshape(-1, *layout.keypoint_shape)
    if layout.task == "segment":
        if prototypes is None or prototypes.ndim != 4 or prototypes.shape[1] != layout.mask_channels:
            seen = None if prototypes is None else prototypes.shape
            raise ModelError(f"the model returned mask prototypes {seen}; expected (1, {layout.mask_channels}, h, w)")
        height, width = prototypes.shape[2:]
        # copies, so that the detections do not keep the network's whole output alive
        own = prototypes[0] if owns else prototypes[0].copy()
        masks = Masks(extra.copy(), own, (height / found.shape[0], width / found.shape[1]))
    return Detections(found.boxes, found.scores, found.classes, found.shape, masks, keypoints)


def _candidates(
    columns: NDArray[np.float32], classes: int, confidence: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """(boxes, scores, classes, extra) above the confidence, from `(4 + classes + extra, N)`."""
    scores = columns[4 : 4 + classes]
    index = np.flatnonzero(scores.max(0) > confidence)
    picked = columns[:, index].T
    middle, size = picked[:, 0:2], picked[:, 2:4]
    boxes: NDArray[np.float32] = np.concatenate((middle - size / 2, middle + size / 2), 1)
    best = picked[:, 4 : 4 + classes].argmax(1)
    score = picked[np.arange(len(picked)), 4 + best]
    finite = np.isfinite(boxes.sum(1))
    return boxes[finite], score[finite], best[finite].astype(np.int64), picked[finite, 4 + classes :]


def _rows(
    rows: NDArray[np.float32], confidence: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """(boxes, scores, classes, extra) above the confidence, from end-to-end rows `(N, 6 + extra)`."""
    picked = rows[(rows[:, 4] > confidence) & np.isfinite(rows[:, :4]).all(1)]
    return picked[:, :4], picked[:, 4], picked[:, 5].astype(np.int64), picked[:, 6:]


def _tensors(outputs: Any) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Prediction tensor and mask prototypes; None without prototypes."""
    first = outputs
    rest: Any = ()
    while isinstance(first, (tuple, list)) and len(first) > 0:
        first, rest = first[0], first[1:]
    second = rest[0] if len(rest) > 0 else None
    prediction = _array(first)
    if prediction is None:
        raise ModelError(f"the model returned a {type(first).__name__} where a prediction tensor is expected")
    return prediction, _array(second)


def _array(value: Any) -> NDArray[np.float32] | None:
    """Tensor or array as float32; None for anything else."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return value.astype(np.float32, copy=False) if isinstance(value, np.ndarray) else None
