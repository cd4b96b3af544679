"""Moved masks: how each was moved since the network gave it, and where a piece of it was then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import CELL_PX

Pair = tuple[float, float]  # (y, x)


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """One step of the objects of a frame: each by a displacement of its own, bent by the motion of its parts.

    A part follows the vectors of the cells around it, interpolated bilinearly between their middles. The displacement
    of the whole object takes the place of those that are not known. At the object's edge, the background does not pull
    at it: a cell beside cells of the object, but not one of them, has their mean vector.

    Displacements are complex numbers, `dx + 1j * dy`: half as many look-ups as with pairs.

    Attributes:
      displacement: `(N,)` complex128 displacement of each object in pixels of the motion.
      vectors: `(Hc, Wc)` complex128 motion of each cell since the frame that the objects are moved from, in pixels; NaN
        where it is not known. None: nothing bends.
      own: `(N, Hc, Wc)` bool, the cells of each object; None where they are not known, as without masks.
      cell_px: side of a cell of the motion in pixels.
      scale, offset: (y, x); the continuous pixel position p of the motion is at `p * scale + offset` in cells of the
        masks.
    """

    displacement: NDArray[np.complex128]
    vectors: NDArray[np.complex128] | None = None
    own: NDArray[np.bool_] | None = None
    cell_px: int = CELL_PX
    scale: Pair = (1.0, 1.0)
    offset: Pair = (0.0, 0.0)

    def select(self, index: NDArray[np.int64]) -> Move:
        """The objects at the indices `index`, `(M,)` int64."""
        own = None if self.own is None else self.own[index]
        return replace(self, displacement=self.displacement[index], own=own)

    def shift(self, index: int) -> Pair:
        """(y, x) by which object `index` moves as a whole, in cells of the masks."""
        whole = complex(self.displacement[index])
        return whole.imag * self.scale[0], whole.real * self.scale[1]

    def bends(self, index: int | slice) -> NDArray[np.complex128]:
        """What is added to the displacement of objects in each cell of the frame that they are moved to.

        Returns:
          `(Hc, Wc)` of an object, or `(M, Hc, Wc)` of several, `dx + 1j * dy` in pixels; exactly 0 where a cell, and
          all around it, have the object's displacement.

        Raises:
          ValueError: these objects do not bend: `vectors` is None.
        """
        if self.vectors is None:
            raise ValueError("bends() is for moves with vectors")
        found = np.asarray(self.vectors - self.displacement[index, None, None])
        found[np.isnan(found)] = 0
        if self.own is None:
            return found
        own = self.own[index]
        beside = _around(own.astype(np.float64))
        mean = _around(np.where(own, found, 0)) / np.maximum(beside, 1)
        return np.where((beside > 0) & ~own, mean, found)


def total_shift(moves: tuple[Move, ...], index: int) -> Pair:
    """(y, x) by which object `index` moved as a whole over all moves, in cells of the masks."""
    steps = [move.shift(index) for move in moves]
    return sum(y for y, _ in steps), sum(x for _, x in steps)


def sources(
    moves: tuple[Move, ...], index: int, rows: range, columns: range
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the cells of a moved mask come from.

    The cells move along with the object: cell (i, j) is now `total_shift` away from (i, j). Following the motion back
    from there leads to (i, j) again, but for the bends.

    Args:
      moves: the last one last.
      index: object.
      rows, columns: cells of the mask.

    Returns:
      (y, x), `(len(rows), len(columns))` each, in cells of the mask as the network gave it; whole numbers are middles.
    """
    y, x = np.asarray(rows, np.float64)[:, None], np.asarray(columns, np.float64)[None, :]
    far_y, far_x = total_shift(moves, index)
    for move in reversed(moves):
        at_y = (y + 0.5 + far_y - move.offset[0]) / move.scale[0]
        at_x = (x + 0.5 + far_x - move.offset[1]) / move.scale[1]
        if move.vectors is not None:
            bend = bilinear(move.bends(index), at_y / move.cell_px - 0.5, at_x / move.cell_px - 0.5)
            y, x = y - bend.imag * move.scale[0], x - bend.real * move.scale[1]
        step_y, step_x = move.shift(index)
        far_y, far_x = far_y - step_y, far_x - step_x
    shape = len(rows), len(columns)
    return np.broadcast_to(y, shape), np.broadcast_to(x, shape)


def bilinear(
    values: NDArray[Any], y: NDArray[np.float64], x: NDArray[np.float64], layer: NDArray[np.int64] | int = 0
) -> NDArray[Any]:
    """Interpolates values between whole positions; equal ones exactly.

    Args:
      values: `(h, w)`, or `(layers, h, w)`; beyond the last positions lie more of the same.
      y, x: finite, of shapes that broadcast to one.
      layer: which one of each, likewise.
    """
    height, width = values.shape[-2:]
    (above, below, ty), (left, right, tx) = _between(y, height), _between(x, width)
    flat, first = values.ravel(), layer * height
    above, below = (first + above) * width, (first + below) * width
    upper, lower = flat.take(above + left), flat.take(below + left)
    upper = upper + (flat.take(above + right) - upper) * tx
    lower = lower + (flat.take(below + right) - lower) * tx
    found: NDArray[Any] = upper + (lower - upper) * ty
    return found


def _between(
    position: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Both whole positions around each along one axis, and the weight of the second."""
    inside = np.clip(position, 0, count - 1)
    first = inside.astype(np.int64)
    return first, np.minimum(first + 1, count - 1), inside - first


def _around(values: NDArray[Any]) -> NDArray[Any]:
    """Sums over 3x3 values around each, along the last two axes."""
    padded = np.zeros((*values.shape[:-2], values.shape[-2] + 2, values.shape[-1] + 2), values.dtype)
    padded[..., 1:-1, 1:-1] = values
    lines = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    found: NDArray[Any] = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]
    return found
