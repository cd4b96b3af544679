"""Regions of a frame that hold objects, where planned reuse applies lower thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.advance import LEAST_CELLS
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import CELL_PX, cells
from fluxshard.options import OBJECT, SMALL_OBJECT


def regions(found: Detections, confidence: float, small_px: int = 0) -> NDArray[np.uint8]:
    """Marks the cells of 8 px that contain a part of an object: of its mask, or of its box without masks.

    Masks are sampled at the resolution of their prototypes: 4 px in the YOLO family, finer than the cells.

    Args:
      found: detections in pixels of the network's input.
      confidence: objects must score above it.
      small_px: objects with a box area below its square are small; their whole box is marked.

    Returns:
      `(ceil(H / 8), ceil(W / 8))` uint8 of `options.OBJECT`, `options.SMALL_OBJECT` or 0.
    """
    height, width = found.shape
    shape = cells(height, CELL_PX), cells(width, CELL_PX)
    inside, small = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for index in np.flatnonzero(found.scores > confidence):
        rows, columns = found.pixels(int(index))
        if not len(rows) or not len(columns):
            continue
        x1, y1, x2, y2 = found.boxes[index].tolist()
        is_small = (x2 - x1) * (y2 - y1) < small_px**2
        if found.masks is None or is_small:
            top, left = rows.start // CELL_PX, columns.start // CELL_PX
            target = small if is_small else inside
            target[top : cells(rows.stop, CELL_PX), left : cells(columns.stop, CELL_PX)] = True
        else:
            _add_mask(inside, found, int(index), rows, columns)
    return np.where(small, SMALL_OBJECT, np.where(inside, OBJECT, 0)).astype(np.uint8)


def moved_cells(found: Detections) -> NDArray[np.bool_] | None:
    """The cells of 8 px that parts of moved objects are in, by the vectors that they moved by last.

    Roughly what `regions` marks, without computing a mask: vectors that are not known lead nowhere, and of an object
    with hardly a cell the whole box is marked.

    Args:
      found: detections from `advance`.

    Returns:
      `(ceil(H / 8), ceil(W / 8))`; None where the masks have not been moved, there are none, or the motion has other
      cells.
    """
    moves = () if found.masks is None else found.masks.moves
    own = moves[-1].own if moves else None
    if own is None or moves[-1].cell_px != CELL_PX:
        return None
    marked: NDArray[np.bool_] = np.logical_or.reduce(own, axis=0)
    for index, one in enumerate(own):
        if np.count_nonzero(one) >= LEAST_CELLS:
            continue
        rows, columns = found.pixels(index)
        top, left = rows.start // CELL_PX, columns.start // CELL_PX
        marked[top : cells(rows.stop, CELL_PX), left : cells(columns.stop, CELL_PX)] = True
    return marked


def _add_mask(result: NDArray[np.bool_], found: Detections, index: int, rows: range, columns: range) -> None:
    """Marks the cells of object `index` whose mask, inside the box `rows` x `columns`, is not empty; in place."""
    masks = found.masks
    assert masks is not None
    (height, width), place = masks.cells, masks.place(index)
    span = []
    for pixels, scale, offset, count in (
        (rows, masks.scale[0], place[0], height),
        (columns, masks.scale[1], place[1], width),
    ):
        first = int(np.floor(pixels.start * scale + offset))
        last = int(np.ceil(pixels.stop * scale + offset))
        span.append((max(0, first), min(count, max(last, first + 1)), scale, offset))
    (top, bottom, scale_y, offset_y), (left, right, scale_x, offset_x) = span
    inside = masks.logits(index, range(top, bottom), range(left, right)) > 0
    y, x = np.nonzero(inside)
    # the centre of a prototype cell determines its cell of the result
    row = np.clip(((y + top + 0.5 - offset_y) / scale_y).astype(np.int64) // CELL_PX, 0, result.shape[0] - 1)
    column = np.clip(((x + left + 0.5 - offset_x) / scale_x).astype(np.int64) // CELL_PX, 0, result.shape[1] - 1)
    result[row, column] = True
