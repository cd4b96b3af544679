"""Accuracy of a trace frame by frame, for searching thresholds: integrated over confidences.

At one confidence an object whose score wavers around it is found or lost by chance, and a search would follow the
chance. So each frame's accuracy is a mean over confidences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.data.masks import mask_iou
from fluxshard.evaluate.traces.trace import FoundObject, Trace
from fluxshard.models.detections.agreement import best_pairs, keypoint_similarity
from fluxshard.models.detections.nms import box_iou

CONFIDENCES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
SIMILAR = float(np.nextafter(0, 1))  # objects that share anything at all
Measure = Literal["jaccard", "agreement"]


def accuracies(
    trace: Trace, dense: Trace | None = None, annotations: Sequence[str | None] | None = None
) -> NDArray[np.float64]:
    """Accuracy of every frame but the first; NaN where there is nothing to measure.

    Args:
      trace: of the method.
      dense: of the dense network: the reference where there are no annotations.
      annotations: run lengths of the object per frame: then J is measured, and `dense` is not needed.

    Returns:
      with annotations, the largest mask IoU of an object above each confidence, averaged over confidences; otherwise
      twice the similarity of objects matched with the dense network's over the number of both, averaged likewise.
    """
    if annotations is None and dense is None:
        raise ValueError("accuracies() needs annotations or the dense network's trace")
    values = []
    for index in range(1, len(trace.frames)):
        found = trace.frames[index].objects
        if annotations is not None:
            values.append(_jaccard(found, annotations[index], trace.picture_size))
        else:
            assert dense is not None
            values.append(_agreement(found, dense.frames[index].objects, trace.picture_size))
    return np.asarray(values, np.float64)


def _jaccard(found: Sequence[FoundObject], annotation: str | None, size: tuple[int, int]) -> float:
    if annotation is None:
        return float("nan")
    masks = [one.mask for one in found if one.mask is not None]
    scores = np.asarray([one.score for one in found if one.mask is not None])
    if not masks:
        return 0.0
    overlap = mask_iou(masks, [annotation], size)[:, 0]
    return float(np.mean([max(overlap[scores > floor], default=0.0) for floor in CONFIDENCES]))


def _agreement(found: Sequence[FoundObject], dense: Sequence[FoundObject], size: tuple[int, int]) -> float:
    similarity = similarities(found, dense, size)
    mine, theirs = (np.asarray([one.score for one in objects]) for objects in (found, dense))
    values = []
    for floor in CONFIDENCES:
        rows, columns = np.flatnonzero(mine > floor), np.flatnonzero(theirs > floor)
        if len(rows) + len(columns) == 0:
            continue
        part = similarity[np.ix_(rows, columns)]
        matched = sum(float(part[pair]) for pair in best_pairs(part, SIMILAR))
        values.append(2 * matched / (len(rows) + len(columns)))
    return float(np.mean(values)) if values else float("nan")


def similarities(
    found: Sequence[FoundObject], dense: Sequence[FoundObject], size: tuple[int, int]
) -> NDArray[np.float64]:
    """How much each object resembles each of the dense network's, 0..1: by keypoints, masks or boxes; 0 across classes.

    Args:
      found, dense: of one frame.
      size: (h, w) of the picture.
    """
    if not found or not dense:
        return np.zeros((len(found), len(dense)))
    if all(one.keypoints is not None for one in (*found, *dense)):
        values = np.array([[_oks(one, other) for other in dense] for one in found])
    elif all(one.mask is not None for one in (*found, *dense)):
        values = mask_iou([str(one.mask) for one in found], [str(one.mask) for one in dense], size)
    else:
        return box_overlaps(found, dense)
    return np.where(_same_class(found, dense), values, 0.0)


def box_overlaps(found: Sequence[FoundObject], dense: Sequence[FoundObject]) -> NDArray[np.float64]:
    """IoU of the boxes of every pair, `(len(found), len(dense))`; 0 across classes."""
    if not found or not dense:
        return np.zeros((len(found), len(dense)))
    boxes = [np.asarray([one.box for one in objects], np.float32) for objects in (found, dense)]
    return np.where(_same_class(found, dense), box_iou(boxes[0], boxes[1]).astype(np.float64), 0.0)


def _same_class(found: Sequence[FoundObject], dense: Sequence[FoundObject]) -> NDArray[np.bool_]:
    return np.asarray(np.equal.outer([one.category for one in found], [one.category for one in dense]))


def _oks(found: FoundObject, dense: FoundObject) -> float:
    a, b = (np.asarray(one.keypoints, np.float32).reshape(-1, 3) for one in (found, dense))
    similarity = keypoint_similarity(a, b, np.asarray(dense.box, np.float32))
    if similarity is None:  # the dense network sees none of the keypoints: what is left to compare is the box
        return float(box_iou(np.asarray([found.box], np.float32), np.asarray([dense.box], np.float32))[0, 0])
    return similarity
