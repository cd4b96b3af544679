"""The recomputed area, tinted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.drawing.colours import WORK, Picture
from fluxshard.models.detections.mask_moves import Pair


def tint_work(canvas: Picture, work: NDArray[np.float32], scale: Pair, offset: Pair, cell_px: int) -> None:
    """Tints the recomputed area, see `draw_work`.

    Args:
      canvas: `(H, W, 3)` uint8 RGB, contiguous; changed.
      work, scale, offset, cell_px: see `draw_work`.
    """
    height, width = canvas.shape[:2]
    rows = _cells(height, scale[0], offset[0], cell_px, work.shape[0])
    columns = _cells(width, scale[1], offset[1], cell_px, work.shape[1])
    share = np.clip(np.nan_to_num(work), 0, 1)
    alpha = (np.where(share > 0, 0.10 + 0.32 * share, 0) * 256).astype(np.uint16)
    lines = canvas.reshape(height, -1)
    # one line of cells at a time: its pixel rows share their weights, and stay in the processor's cache meanwhile
    starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
    for top, bottom in zip(starts, [*starts[1:], height], strict=True):
        weights = alpha[rows[top]][columns]
        tinted = np.flatnonzero(weights)
        if not tinted.size:
            continue
        left, right = int(tinted[0]), int(tinted[-1]) + 1
        weight = np.repeat(weights[left:right], 3)
        band = lines[top:bottom, 3 * left : 3 * right]
        mixed = band * (256 - weight)
        mixed += weight * np.tile(np.asarray(WORK, np.uint16), right - left)
        mixed >>= 8
        band[...] = mixed


def _cells(length: int, scale: float, offset: float, cell_px: int, cells: int) -> NDArray[np.int64]:
    """Index of the cell below each of `length` picture pixels along one axis."""
    position = (np.arange(length) + 0.5) * scale + offset
    return np.clip(np.floor(position / cell_px), 0, cells - 1).astype(np.int64)
