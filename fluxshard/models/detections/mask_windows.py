"""Masks reduced to what their boxes show: small enough to send, and drawn like those that they were made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import Detections, Masks, cell_at, moved_logits, placed, taps, window_of
from fluxshard.models.detections.mask_moves import Move, Pair, total_shift

_MARGIN = 2  # prototype cells around a box that pixels at its border are interpolated from


@dataclass(frozen=True, slots=True, eq=False)
class MaskWindow:
    """Logits of one mask around its box.

    Attributes:
      top, left: first row and column, in prototype cells.
      logits: `(rows, columns)` float16.
    """

    top: int
    left: int
    logits: NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class MaskWindows:
    """Masks as logits near their boxes; outside nothing is masked. Has what `Masks` has.

    Attributes:
      windows: one per object.
      cells: (h, w) of the prototypes.
      scale, offset, moves: see `Masks`.
    """

    windows: tuple[MaskWindow, ...]
    cells: tuple[int, int]
    scale: Pair
    offset: Pair = (0.0, 0.0)
    moves: tuple[Move, ...] = ()

    def place(self, index: int) -> Pair:
        """See `Masks.place`."""
        return placed(self.offset, self.moves, index)

    def logits(self, index: int, rows: range, columns: range) -> NDArray[np.float32]:
        """See `Masks.logits`; far below 0 outside of the window."""
        return moved_logits(self._given, self.moves, self.cells, index, rows, columns)

    def has(self, index: int, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See `Masks.has`."""
        part = self.windows[index]
        height, width = part.logits.shape
        row, column = cell_at(self, index, y, x)
        row, column = row - part.top, column - part.left
        found = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found[found] = part.logits[row[found], column[found]] > 0
        return np.asarray(found)

    def window(self, index: int, rows: range, columns: range) -> NDArray[np.bool_]:
        """See `Masks.window`."""
        part = self.windows[index]
        height, width = part.logits.shape
        if len(rows) == 0 or len(columns) == 0 or not height or not width:
            return np.zeros((len(rows), len(columns)), np.bool_)
        return window_of(self, index, rows, columns)

    def select(self, index: NDArray[np.int64]) -> MaskWindows:
        """The masks at the indices `index`, `(M,)` int64."""
        moves = tuple(move.select(index) for move in self.moves)
        return replace(self, windows=tuple(self.windows[int(one)] for one in index), moves=moves)

    def _given(self, index: int, rows: range, columns: range) -> NDArray[np.float32]:
        """Logits as the network gave them; far below 0 outside of the window."""
        part = self.windows[index]
        found = np.full((len(rows), len(columns)), np.finfo(np.float16).min, np.float32)
        height, width = part.logits.shape
        top, bottom = max(rows.start, part.top), min(rows.stop, part.top + height)
        left, right = max(columns.start, part.left), min(columns.stop, part.left + width)
        if top < bottom and left < right:
            inside = part.logits[top - part.top : bottom - part.top, left - part.left : right - part.left]
            found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = inside
        return found


def windowed(found: Detections) -> Detections:
    """The same detections with masks as windows; those without masks, or with windows already, as they are.

    Logits are rounded to float16: a mask differs only where a logit is nearly 0. The windows of moved masks show them
    as they are now: bends are in their logits, and what remains is one move of each as a whole.
    """
    masks = found.masks
    if masks is None or (isinstance(masks, MaskWindows) and all(move.vectors is None for move in masks.moves)):
        return found
    windows = tuple(_window(found, masks, index) for index in range(len(found)))
    # the logits are those of the moved masks: only the place of each remains
    shifts = [complex(*total_shift(masks.moves, index)[::-1]) for index in range(len(found))]
    moves = (Move(np.asarray(shifts, np.complex128)),) if masks.moves else ()
    return replace(found, masks=MaskWindows(windows, masks.cells, masks.scale, masks.offset, moves))


def _window(found: Detections, masks: Masks | MaskWindows, index: int) -> MaskWindow:
    rows, columns = found.pixels(index)
    height, width = masks.cells
    y, x = masks.place(index)
    top, bottom = _span(rows, masks.scale[0], y, height)
    left, right = _span(columns, masks.scale[1], x, width)
    logits = masks.logits(index, range(top, bottom), range(left, right))
    limit = float(np.finfo(np.float16).max)
    return MaskWindow(top, left, np.clip(logits, -limit, limit).astype(np.float16))


def _span(pixels: range, scale: float, offset: float, cells: int) -> tuple[int, int]:
    """First cell, and the one after the last, that pixels and their neighbours are interpolated from."""
    if len(pixels) == 0:
        return 0, 0
    first, last, _ = taps(range(pixels.start, pixels.stop), scale, offset, cells)
    return max(0, int(first.min()) - _MARGIN), min(cells, int(last.max()) + 1 + _MARGIN)
