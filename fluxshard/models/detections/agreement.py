"""Agreement of two sets of detections on the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.nms import box_iou

VISIBLE = 0.5  # smallest confidence of a reference keypoint that is compared
# COCO's per-keypoint standard deviations relative to the square root of the object's area. Source: pycocotools,
# `Params.kpt_oks_sigmas` in cocoeval.py
COCO_SIGMAS = (
    0.026,
    0.025,
    0.025,
    0.035,
    0.035,
    0.079,
    0.079,
    0.072,
    0.072,
    0.062,
    0.062,
    0.107,
    0.107,
    0.087,
    0.087,
    0.089,
    0.089,
)
BOX_TO_AREA = 0.53  # area of a person over that of its box. Source: Ultralytics' pose validator


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts and means of the comparison of one frame; means are None where there is nothing to compare.

    Attributes:
      matched: number of matched pairs of the same class.
      extra: number of unmatched detections.
      missed: number of unmatched detections of the reference.
      box_iou: mean box IoU of the pairs.
      mask_iou: mean mask IoU of the pairs.
      keypoint_px: mean distance of visible keypoints, in pixels.
      oks: mean object keypoint similarity of the pairs, 0..1.
    """

    matched: int
    extra: int
    missed: int
    box_iou: float | None = None
    mask_iou: float | None = None
    keypoint_px: float | None = None
    oks: float | None = None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where both sets are empty."""
        total = 2 * self.matched + self.extra + self.missed
        return 2 * self.matched / total if total else None


def pooled(frames: Sequence[Agreement]) -> Agreement:
    """The comparison of several frames as one: counts are summed, and means are over the pairs of all frames."""

    def mean(name: str) -> float | None:
        pairs = [(getattr(frame, name), frame.matched) for frame in frames if getattr(frame, name) is not None]
        weight = sum(count for _, count in pairs)
        return sum(value * count for value, count in pairs) / weight if weight else None

    counts = (sum(getattr(frame, name) for frame in frames) for name in ("matched", "extra", "missed"))
    return Agreement(*counts, *(mean(name) for name in ("box_iou", "mask_iou", "keypoint_px", "oks")))


def match(found: Detections, reference: Detections, iou: float = 0.5) -> list[tuple[int, int, float]]:
    """Matches detections of the same class one to one, highest box IoU first.

    Returns:
      (index in found, index in reference, IoU) per pair, with an IoU of at least `iou`.
    """
    if len(found) == 0 or len(reference) == 0:
        return []
    overlap = box_iou(found.boxes, reference.boxes)
    overlap = np.where(found.classes[:, None] == reference.classes[None, :], overlap, np.float32(-1))
    return [(row, column, float(overlap[row, column])) for row, column in best_pairs(overlap, iou)]


def best_pairs(similarity: NDArray[np.floating], least: float) -> list[tuple[int, int]]:
    """Matches rows and columns one to one, greedily by falling similarity; ties go to the first in raster order.

    Args:
      similarity: `(N, M)` similarities.
      least: smallest similarity of a pair.

    Returns:
      (row, column) of each pair.
    """
    pairs: list[tuple[int, int]] = []
    rows, columns = set(), set()
    for flat in np.argsort(-similarity, axis=None, kind="stable"):
        row, column = divmod(int(flat), similarity.shape[1])
        if similarity[row, column] < least:
            break
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((row, column))
    return pairs


def compare(found: Detections, reference: Detections, iou: float = 0.5) -> Agreement:
    """Compares detections with reference detections on the same frame, matched at a box IoU of at least `iou`."""
    pairs = match(found, reference, iou)
    masks = found.masks is not None and reference.masks is not None
    mask_ious = [_mask_iou(found, row, reference, column) for row, column, _ in pairs] if masks else []
    distances: list[float] = []
    similarities: list[float] = []
    if found.keypoints is not None and reference.keypoints is not None:
        for row, column, _ in pairs:
            distance = _keypoint_distances(found.keypoints[row], reference.keypoints[column])
            seen = np.isfinite(distance)
            if seen.any():
                distances.append(float(distance[seen].mean()))
                similarities.append(_similarity(distance, reference.boxes[column]))
    return Agreement(
        matched=len(pairs),
        extra=len(found) - len(pairs),
        missed=len(reference) - len(pairs),
        box_iou=_mean([value for _, _, value in pairs]),
        mask_iou=_mean([value for value in mask_ious if value is not None]),
        keypoint_px=_mean(distances),
        oks=_mean(similarities),
    )


def similarity(found: Detections, row: int, reference: Detections, column: int) -> float:
    """Similarity of two detections, 0..1: OKS, mask IoU or box IoU, the first that both have."""
    if found.keypoints is not None and reference.keypoints is not None:
        oks = keypoint_similarity(found.keypoints[row], reference.keypoints[column], reference.boxes[column])
        if oks is not None:
            return oks
    if found.masks is not None and reference.masks is not None:
        overlap = _mask_iou(found, row, reference, column)
        if overlap is not None:
            return overlap
    return float(box_iou(found.boxes[row : row + 1], reference.boxes[column : column + 1])[0, 0])


def max_difference(found: Any, reference: Any) -> float:
    """Largest absolute difference between two outputs of the same nested structure; NaN counts as infinite."""
    if isinstance(found, dict):
        return max((max_difference(found[key], reference[key]) for key in found), default=0.0)
    if isinstance(found, (tuple, list)):
        return max((max_difference(a, b) for a, b in zip(found, reference, strict=True)), default=0.0)
    if not hasattr(found, "numel") or found.numel() == 0:
        return 0.0
    value = float((found.float() - reference.float()).abs().max())
    return value if np.isfinite(value) else float("inf")


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _mask_iou(a: Detections, row: int, b: Detections, column: int) -> float | None:
    """Mask IoU of detection `row` of `a` and `column` of `b`; None where both masks are empty."""
    rows_a, columns_a, mask_a = a.mask(row)
    rows_b, columns_b, mask_b = b.mask(column)
    rows = range(max(rows_a.start, rows_b.start), min(rows_a.stop, rows_b.stop))
    columns = range(max(columns_a.start, columns_b.start), min(columns_a.stop, columns_b.stop))
    shared = int(
        (_part(mask_a, rows_a, columns_a, rows, columns) & _part(mask_b, rows_b, columns_b, rows, columns)).sum()
    )
    union = int(mask_a.sum()) + int(mask_b.sum()) - shared
    return shared / union if union else None


def _part(
    mask: NDArray[np.bool_], own_rows: range, own_columns: range, rows: range, columns: range
) -> NDArray[np.bool_]:
    """Window `rows` x `columns` of a mask that covers `own_rows` x `own_columns`."""
    y, x = rows.start - own_rows.start, columns.start - own_columns.start
    return mask[y : y + len(rows), x : x + len(columns)]


def keypoint_similarity(
    found: NDArray[np.float32], reference: NDArray[np.float32], box: NDArray[np.float32]
) -> float | None:
    """Object keypoint similarity (OKS) of two poses, 0..1; None where no keypoint of the reference is visible.

    Source: COCO's keypoint evaluation, with the object's area estimated from its box.

    Args:
      found, reference: `(K, 2 or 3)` float32 x, y and confidence.
      box: x1, y1, x2, y2 of the reference.
    """
    distance = _keypoint_distances(found, reference)
    return _similarity(distance, box) if np.isfinite(distance).any() else None


def _keypoint_distances(found: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each of K keypoints in pixels, `(K,)`; NaN where it is not visible in the reference."""
    distance = np.hypot(*(found[:, :2] - reference[:, :2]).T)
    if reference.shape[1] > 2:
        distance = np.where(reference[:, 2] >= VISIBLE, distance, np.nan)
    return np.asarray(distance, np.float32)


def _similarity(distance: NDArray[np.float32], box: NDArray[np.float32]) -> float:
    """OKS of `(K,)` distances in pixels, NaN where not visible; at least one must be visible."""
    count = len(distance)
    sigmas = np.asarray(COCO_SIGMAS if count == len(COCO_SIGMAS) else (1 / count,) * count)
    area = max(float((box[2] - box[0]) * (box[3] - box[1])) * BOX_TO_AREA, 1.0)
    seen = np.isfinite(distance)
    return float(np.exp(-(distance[seen].astype(np.float64) ** 2) / (2 * area * (2 * sigmas[seen]) ** 2)).mean())
