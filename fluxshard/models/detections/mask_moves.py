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
    of the whole object takes the place of those that are not known.

    Displacements are complex numbers, `dx + 1j * dy`: half as many look-ups as with pairs.

    Attributes:
      displacement: `(N,)` complex128 displacement of each object in pixels of the motion.
      vectors: `(Hc, Wc)` complex128 motion of each cell since the frame that the objects are moved from, in pixels; NaN
        where it is not known. None: nothing bends.
      cell_px: side of a cell of the motion in pixels.
      scale, offset: (y, x); the continuous pixel position p of the motion is at `p * scale + offset` in cells of the
        masks.
    """

    displacement: NDArray[np.complex128]
    vectors: NDArray[np.complex128] | None = None
    cell_px: int = CELL_PX
    scale: Pair = (1.0, 1.0)
    offset: Pair = (0.0, 0.0)

    def select(self, index: NDArray[np.int64]) -> Move:
        """The objects at the indices `index`, `(M,)` int64."""
        return replace(self, displacement=self.displacement[index])

    def shift(self, index: int) -> Pair:
        """(y, x) by which object `index` moves as a whole, in cells of the masks."""
        whole = complex(self.displacement[index])
        return whole.imag * self.scale[0], whole.real * self.scale[1]

    def bend(
        self, index: NDArray[np.int64] | int, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """What is added to the displacement of an object at positions of the frame that it is moved to.

        Args:
          index: object; one for all positions, or one for each.
          y, x: continuous positions in pixels of the motion, finite; of one shape, or shapes that broadcast to one.

        Returns:
          `dx + 1j * dy` in pixels, of that shape; exactly 0 where all cells around have the object's displacement.
        """
        if self.vectors is None:
            return np.zeros(np.broadcast_shapes(y.shape, x.shape), np.complex128)
        height, width = self.vectors.shape
        top, bottom, ty = _between(y, self.cell_px, height)
        left, right, tx = _between(x, self.cell_px, width)
        own = self.displacement[index]
        if isinstance(index, int):  # once for each cell
            bends = self.vectors - own
            bends[np.isnan(bends)] = 0
            return _bilinear(bends.ravel(), top * width, bottom * width, ty, left, right, tx)
        corners = np.stack([row * width + column for row in (top, bottom) for column in (left, right)])
        bends = self.vectors.ravel()[corners] - own
        bends[np.isnan(bends)] = 0
        above, below = bends[0] + (bends[1] - bends[0]) * tx, bends[2] + (bends[3] - bends[2]) * tx
        return np.asarray(above + (below - above) * ty)


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
        bend = move.bend(index, at_y, at_x)
        y, x = y - bend.imag * move.scale[0], x - bend.real * move.scale[1]
        step_y, step_x = move.shift(index)
        far_y, far_x = far_y - step_y, far_x - step_x
    return y, x


def interpolated(logits: NDArray[np.float32], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values of `(h, w)` logits at positions in their cells, of any shape; beyond the last cell its value."""
    height, width = logits.shape
    top, bottom, ty = _between(y + 0.5, 1, height)
    left, right, tx = _between(x + 0.5, 1, width)
    found = _bilinear(logits.ravel(), top * width, bottom * width, ty, left, right, tx)
    return np.asarray(found, np.float32)


def _bilinear(
    values: NDArray[Any],
    above: NDArray[np.int64],
    below: NDArray[np.int64],
    ty: NDArray[np.float64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    tx: NDArray[np.float64],
) -> NDArray[Any]:
    """Interpolates flat values between the starts of two rows and between two columns; equal ones remain exactly."""
    upper, lower = values.take(above + left), values.take(below + left)
    upper = upper + (values.take(above + right) - upper) * tx
    lower = lower + (values.take(below + right) - lower) * tx
    found: NDArray[Any] = upper + (lower - upper) * ty
    return found


def _between(
    position: NDArray[np.float64], cell_px: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Both cells around each continuous position along one axis, and the weight of the second."""
    middle = np.clip(position / cell_px - 0.5, 0, cells - 1)
    first = middle.astype(np.int64)
    return first, np.minimum(first + 1, cells - 1), middle - first
