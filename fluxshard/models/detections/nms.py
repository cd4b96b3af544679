"""Greedy class-wise non-maximum suppression in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # candidates whose mutual overlaps are computed at once: bounds memory, and most frames need one block


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair of boxes.

    Args:
      a: `(N, 4)` float32 x1, y1, x2, y2.
      b: `(M, 4)`.

    Returns:
      `(N, M)` float32 in 0..1; 0 for boxes without area.
    """
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b[None, :] - shared
    ratio: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def non_maximum_suppression(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int64],
    iou: float,
    limit: int,
) -> NDArray[np.int64]:
    """Keeps the best box of each group of same-class boxes that overlap by more than `iou`.

    Args:
      boxes: `(N, 4)` float32 x1, y1, x2, y2.
      scores: `(N,)` float32, finite.
      classes: `(N,)` int64.
      iou: overlap above which the lower score goes.
      limit: most boxes to keep.

    Returns:
      indices of the kept boxes, by falling score; equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        if kept:
            block = block[~_overlap(boxes, classes, block, np.asarray(kept), iou).any(1)]
        overlap = _overlap(boxes, classes, block, block, iou)
        alive = np.ones(len(block), np.bool_)
        for row, index in enumerate(block.tolist()):
            if not alive[row]:
                continue
            kept.append(index)
            if len(kept) >= limit:
                return np.asarray(kept, np.int64)
            alive[row + 1 :] &= ~overlap[row, row + 1 :]
    return np.asarray(kept, np.int64)


def _overlap(
    boxes: NDArray[np.float32],
    classes: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    iou: float,
) -> NDArray[np.bool_]:
    same_class: NDArray[np.bool_] = classes[a][:, None] == classes[b][None, :]
    return same_class & (box_iou(boxes[a], boxes[b]) > iou)
