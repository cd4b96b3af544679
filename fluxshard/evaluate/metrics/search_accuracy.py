"""Per-frame accuracy of a trace for threshold searches, averaged over confidences.

At a single confidence, objects whose scores oscillate around it are found or lost by chance, and a search would fit
that chance. So the accuracy of a frame is a mean over confidences.
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
SIMILAR = float(np.nextafter(0, 1))  # smallest similarity above 0
SearchMeasure = Literal["jaccard", "agreement"]


def accuracies(
    trace: Trace, dense: Trace | None = None, annotations: Sequence[str | None] | None = None
) -> NDArray[np.float64]:
    """Accuracy of every frame but the first.

    Args:
      trace: trace of the method.
      dense: trace of the dense network, the reference without annotations.
      annotations: COCO run lengths of the annotated object per frame; `dense` is not used with them.

    Returns:
      `(frames - 1,)` float64 in 0..1, NaN where there is no reference. With annotations ("jaccard"), the largest mask
      IoU with the annotated object of a detection above each confidence, averaged over confidences. Otherwise
      ("agreement"), twice the summed similarity of matched objects over the number of objects of both traces, a soft
      F1, averaged likewise.

    Raises:
      ValueError: neither `dense` nor `annotations` is given.
      EvaluationError: masks are damaged or of another size, or pycocotools is not installed.
    """
    if annotations is None and dense is None:
        raise ValueError("accuracies() needs annotations or the dense network's trace")
    values = []
    for index in range(1, len(trace.frames)):
        found = trace.frames[index].objects
        if annotations is not None:
            values.append(mean_jaccard(found, annotations[index], trace.picture_size))
        else:
            assert dense is not None
            values.append(_agreement(found, dense.frames[index].objects, trace.picture_size))
    return np.asarray(values, np.float64)


def mean_jaccard(found: Sequence[FoundObject], annotation: str | None, size: tuple[int, int]) -> float:
    """J of one frame, averaged over confidences; NaN without annotation.

    Args:
      found: all objects of the frame, down to the lowest of `CONFIDENCES`.
      annotation: COCO run lengths of the annotated object.
      size: (h, w) of the picture.

    Raises:
      EvaluationError: masks are damaged or of another size, or pycocotools is not installed.
    """
    if annotation is None:
        return float("nan")
    masks = [one.mask for one in found if one.mask is not None]
    scores = np.asarray([one.score for one in found if one.mask is not None])
    if not masks:
        return 0.0
    overlap = mask_iou(masks, [annotation], size)[:, 0]
    return float(np.mean([max(overlap[scores > floor], default=0.0) for floor in CONFIDENCES]))


def _agreement(found: Sequence[FoundObject], dense: Sequence[FoundObject], size: tuple[int, int]) -> float:
    """Soft F1 of one frame, averaged over the confidences at which either has objects; NaN where none does."""
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
    """Pairwise similarity of objects of one frame: OKS, mask IoU or box IoU, the first that all of them have.

    Args:
      found, dense: N objects of the method and M of the dense network.
      size: (h, w) of the picture.

    Returns:
      `(N, M)` float64 in 0..1; 0 for objects of different classes.

    Raises:
      EvaluationError: masks are damaged or of another size, or pycocotools is not installed.
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
    """Pairwise box IoU of N and M objects, `(N, M)` float64; 0 for objects of different classes."""
    if not found or not dense:
        return np.zeros((len(found), len(dense)))
    boxes = [np.asarray([one.box for one in objects], np.float32) for objects in (found, dense)]
    return np.where(_same_class(found, dense), box_iou(boxes[0], boxes[1]).astype(np.float64), 0.0)


def _same_class(found: Sequence[FoundObject], dense: Sequence[FoundObject]) -> NDArray[np.bool_]:
    return np.asarray(np.equal.outer([one.category for one in found], [one.category for one in dense]))


def _oks(found: FoundObject, dense: FoundObject) -> float:
    """Object keypoint similarity."""
    a, b = (np.asarray(one.keypoints, np.float32).reshape(-1, 3) for one in (found, dense))
    similarity = keypoint_similarity(a, b, np.asarray(dense.box, np.float32))
    if similarity is None:  # no keypoint of the dense network is visible: the boxes remain to compare
        return float(box_iou(np.asarray([found.box], np.float32), np.asarray([dense.box], np.float32))[0, 0])
    return similarity
