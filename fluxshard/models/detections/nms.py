"""Box IoU and greedy class-wise non-maximum suppression (NMS) in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # candidates per pairwise IoU matrix: bounds memory, and most frames need one block


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pairwise intersection over union of boxes.

    Args:
      a: `(N, 4)` float32 x1, y1, x2, y2.
      b: `(M, 4)` likewise.

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
    """Suppresses boxes that overlap a higher-scoring box of the same class by more than `iou`.

    Args:
      boxes: `(N, 4)` float32 x1, y1, x2, y2.
      scores: `(N,)` float32, finite.
      classes: `(N,)` int64.
      iou: largest IoU of two remaining boxes of a class.
      limit: maximum number of remaining boxes.

    Returns:
      indices of the remaining boxes in descending order of score, `(M,)` int64; ties keep their order.
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
    """Whether boxes `a` and `b` (indices) suppress each other, `(len(a), len(b))`."""
    same_class: NDArray[np.bool_] = classes[a][:, None] == classes[b][None, :]
    return same_class & (box_iou(boxes[a], boxes[b]) > iou)
