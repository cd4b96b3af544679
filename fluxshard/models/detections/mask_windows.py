"""Masks reduced to what their boxes show: small enough to send, and drawn like those that they were made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import Detections, Masks, Pair, taps

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
      scale, offset: see `Masks`.
    """

    windows: tuple[MaskWindow, ...]
    cells: tuple[int, int]
    scale: Pair
    offset: Pair = (0.0, 0.0)

    def logits(self, index: int, rows: range, columns: range) -> NDArray[np.float32]:
        """See `Masks.logits`; far below 0 outside of the window."""
        part = self.windows[index]
        found = np.full((len(rows), len(columns)), np.finfo(np.float16).min, np.float32)
        height, width = part.logits.shape
        top, bottom = max(rows.start, part.top), min(rows.stop, part.top + height)
        left, right = max(columns.start, part.left), min(columns.stop, part.left + width)
        if top < bottom and left < right:
            inside = part.logits[top - part.top : bottom - part.top, left - part.left : right - part.left]
            found[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = inside
        return found

    def window(self, index: int, rows: range, columns: range) -> NDArray[np.bool_]:
        """See `Masks.window`."""
        part = self.windows[index]
        height, width = part.logits.shape
        if len(rows) == 0 or len(columns) == 0 or not height or not width:
            return np.zeros((len(rows), len(columns)), np.bool_)
        top, bottom, ty = taps(rows, self.scale[0], self.offset[0], self.cells[0])
        left, right, tx = taps(columns, self.scale[1], self.offset[1], self.cells[1])
        inside = np.logical_and.outer(
            (top >= part.top) & (bottom < part.top + height), (left >= part.left) & (right < part.left + width)
        )
        top, bottom = (np.clip(cell - part.top, 0, height - 1) for cell in (top, bottom))
        left, right = (np.clip(cell - part.left, 0, width - 1) for cell in (left, right))
        logits = part.logits.astype(np.float32)
        lines = logits[top] * (1 - ty)[:, None] + logits[bottom] * ty[:, None]
        found = lines[:, left] * (1 - tx) + lines[:, right] * tx > 0
        return np.asarray(found & inside, np.bool_)

    def select(self, index: NDArray[np.int64]) -> MaskWindows:
        """The masks at the indices `index`, `(M,)` int64."""
        return replace(self, windows=tuple(self.windows[int(one)] for one in index))


def windowed(found: Detections) -> Detections:
    """The same detections with masks as windows; those without masks, or with windows already, as they are.

    Logits are rounded to float16: a mask differs only where a logit is nearly 0.
    """
    masks = found.masks
    if not isinstance(masks, Masks):
        return found
    windows = tuple(_window(found, masks, index) for index in range(len(found)))
    return replace(found, masks=MaskWindows(windows, masks.cells, masks.scale, masks.offset))


def _window(found: Detections, masks: Masks, index: int) -> MaskWindow:
    rows, columns = found.pixels(index)
    height, width = masks.cells
    top, bottom = _span(rows, masks.scale[0], masks.offset[0], height)
    left, right = _span(columns, masks.scale[1], masks.offset[1], width)
    logits = masks.logits(index, range(top, bottom), range(left, right))
    limit = float(np.finfo(np.float16).max)
    return MaskWindow(top, left, np.clip(logits, -limit, limit).astype(np.float16))


def _span(pixels: range, scale: float, offset: float, cells: int) -> tuple[int, int]:
    """First cell, and the one after the last, that pixels and their neighbours are interpolated from."""
    if len(pixels) == 0:
        return 0, 0
    first, last, _ = taps(range(pixels.start, pixels.stop), scale, offset, cells)
    return max(0, int(first.min()) - _MARGIN), min(cells, int(last.max()) + 1 + _MARGIN)
