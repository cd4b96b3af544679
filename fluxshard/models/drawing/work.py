"""The recomputed area: a light tint with a line around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.drawing.colours import WORK, Picture

LEAST_WORK = 0.5  # share of a cell's work from which on it is inside the line
_OF_LINE = 190  # of 256: share of the colour in the line
_OF_TINT = (18, 40)  # of 256: share of the colour in a cell with next to no work, and what full work adds


def tint_work(
    canvas: Picture,
    work: NDArray[np.float32],
    scale: Pair,
    offset: Pair,
    cell_px: int,
    line: int,
    *,
    tinted: bool = True,
) -> None:
    """Tints the recomputed area and draws a line around it, see `draw_work`.

    The tint is light enough to see the picture. The line, inside the area, is seen where the picture has the colour
    of the tint. Where all of the picture was recomputed there is only the line.

    Args:
      canvas: `(H, W, 3)` uint8 RGB, contiguous; changed.
      work, scale, offset, cell_px: see `draw_work`.
      line: its width in pixels.
      tinted: False draws the line only.
    """
    height, width = canvas.shape[:2]
    rows = _cells(height, scale[0], offset[0], cell_px, work.shape[0])
    columns = _cells(width, scale[1], offset[1], cell_px, work.shape[1])
    # only what lies below the picture
    share = np.clip(np.nan_to_num(work), 0, 1)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    rows, columns = rows - rows[0], columns - columns[0]
    inside = np.pad(_closed(share >= LEAST_WORK), 1)
    tint = np.where(share > 0, _OF_TINT[0] + _OF_TINT[1] * share, 0).astype(np.uint16)
    if not tinted or inside[1:-1, 1:-1].all():
        tint[...] = 0
    here = inside[1:-1, 1:-1]
    above, below = here & ~inside[:-2, 1:-1], here & ~inside[2:, 1:-1]
    left, right = here & ~inside[1:-1, :-2], here & ~inside[1:-1, 2:]
    pixels = canvas.reshape(height, -1)
    starts, across = _starts(rows), _starts(columns)
    first, last = _near(across, width, line)
    middle = tint[:, columns]
    middle[(left[:, columns] & first) | (right[:, columns] & last)] = _OF_LINE
    colour = np.tile(np.asarray(WORK, np.uint16), width)
    # one line of cells at a time: its pixel rows share their weights, and stay in the processor's cache meanwhile
    for index, (top, bottom) in enumerate(zip(starts, [*starts[1:], height], strict=True)):
        shown = np.flatnonzero(tint[index].astype(np.bool_) | here[index])
        if not shown.size:
            continue
        begin, end = across[shown[0]], [*across[1:], width][shown[-1]]
        edge = min(line, bottom - top)
        upper = top + edge if above[index].any() else top
        lower = max(bottom - edge, upper) if below[index].any() else bottom
        for since, until, edges in ((top, upper, above), (upper, lower, None), (lower, bottom, below)):
            if since == until:
                continue
            weights = middle[index]
            if edges is not None:
                weights = np.where(edges[index][columns], np.uint16(_OF_LINE), weights)
            weight = np.repeat(weights[begin:end], 3)
            part = pixels[since:until, 3 * begin : 3 * end]
            mixed = part * (256 - weight)
            mixed += weight * colour[3 * begin : 3 * end]
            mixed >>= 8
            part[...] = mixed


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask without holes and gaps of one or two cells: a line around each of them would be noise."""
    wide = np.pad(mask, 2)
    wide[1:-1, 1:-1] |= _any_beside(wide)
    closed = wide.copy()
    closed[1:-1, 1:-1] &= ~_any_beside(~wide)
    return closed[2:-2, 2:-2] | mask


def _any_beside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether any of the eight neighbours of a cell is set, without the outermost cells."""
    rows = mask[:, :-2] | mask[:, 1:-1] | mask[:, 2:]
    beside: NDArray[np.bool_] = rows[:-2] | rows[1:-1] | rows[2:]
    return beside


def _cells(length: int, scale: float, offset: float, cell_px: int, cells: int) -> NDArray[np.int64]:
    """Index of the cell below each of `length` picture pixels along one axis."""
    position = (np.arange(length) + 0.5) * scale + offset
    return np.clip(np.floor(position / cell_px), 0, cells - 1).astype(np.int64)


def _starts(cells: NDArray[np.int64]) -> list[int]:
    """First pixel of each cell."""
    starts: list[int] = np.flatnonzero(np.diff(cells, prepend=-1)).tolist()
    return starts


def _near(starts: list[int], length: int, line: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pixels of an axis are the first of their cell, up to the line's width, and which the last."""
    first, last = np.zeros(length, np.bool_), np.zeros(length, np.bool_)
    for start, stop in zip(starts, [*starts[1:], length], strict=True):
        first[start : min(start + line, stop)] = True
        last[max(stop - line, start) : stop] = True
    return first, last
