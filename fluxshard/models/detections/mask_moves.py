"""Moved masks: how each was moved since the network gave it, and where a piece of it was then."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import MotionField

Pair = tuple[float, float]  # (y, x)


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """One step of the objects of a frame: each by a displacement of its own, bent by the motion of its parts.

    A part follows the vectors of the cells around it, interpolated bilinearly between their middles. The displacement
    of the whole object takes the place of invalid ones.

    Attributes:
      motion: since the frame that the objects are moved from; None does not bend.
      displacement: `(N, 2)` float64 (dy, dx) of each object in pixels of the motion.
      scale, offset: (y, x); the continuous pixel position p of the motion is at `p * scale + offset` in cells of the
        masks.
    """

    motion: MotionField | None
    displacement: NDArray[np.float64]
    scale: Pair = (1.0, 1.0)
    offset: Pair = (0.0, 0.0)

    def select(self, index: NDArray[np.int64]) -> Move:
        """The objects at the indices `index`, `(M,)` int64."""
        return replace(self, displacement=self.displacement[index])

    def shift(self, index: int) -> Pair:
        """(y, x) by which object `index` moves as a whole, in cells of the masks."""
        dy, dx = self.displacement[index].tolist()
        return dy * self.scale[0], dx * self.scale[1]

    def bend(
        self, index: NDArray[np.int64] | int, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What is added to the displacement of an object at positions of the frame that it is moved to.

        Args:
          index: object; one for all positions, or one for each.
          y, x: continuous positions in pixels of the motion, of one shape.

        Returns:
          (dy, dx) in pixels, of that shape; exactly 0 where all cells around have the object's displacement.
        """
        if self.motion is None:
            return np.zeros_like(y), np.zeros_like(x)
        vectors, valid = self.motion.displacement, self.motion.valid
        height, width = valid.shape
        top, bottom, ty = _between(y, self.motion.cell_px, height)
        left, right, tx = _between(x, self.motion.cell_px, width)
        own = self.displacement[index]

        def at(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float64]:
            flat = row * width + column
            bend = vectors.reshape(-1, 2)[flat] - own
            return np.where(valid.ravel()[flat][..., None], bend, 0.0)

        ty, tx = ty[..., None], tx[..., None]
        above = at(top, left) * (1 - tx) + at(top, right) * tx
        below = at(bottom, left) * (1 - tx) + at(bottom, right) * tx
        bend = above * (1 - ty) + below * ty
        return bend[..., 0], bend[..., 1]


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
    y, x = np.meshgrid(np.asarray(rows, np.float64), np.asarray(columns, np.float64), indexing="ij")
    far_y, far_x = total_shift(moves, index)
    for move in reversed(moves):
        at_y = (y + 0.5 + far_y - move.offset[0]) / move.scale[0]
        at_x = (x + 0.5 + far_x - move.offset[1]) / move.scale[1]
        dy, dx = move.bend(index, at_y, at_x)
        y, x = y - dy * move.scale[0], x - dx * move.scale[1]
        step_y, step_x = move.shift(index)
        far_y, far_x = far_y - step_y, far_x - step_x
    return y, x


def interpolated(logits: NDArray[np.float32], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values of `(h, w)` logits at positions in their cells, of any shape; beyond the last cell its value."""
    height, width = logits.shape
    top, bottom, ty = _between(y + 0.5, 1, height)
    left, right, tx = _between(x + 0.5, 1, width)
    above = logits[top, left] * (1 - tx) + logits[top, right] * tx
    below = logits[bottom, left] * (1 - tx) + logits[bottom, right] * tx
    return np.asarray(above * (1 - ty) + below * ty, np.float32)


def _between(
    position: NDArray[np.float64], cell_px: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Both cells around each continuous position along one axis, and the weight of the second."""
    middle = np.clip(position / cell_px - 0.5, 0, cells - 1)
    first = middle.astype(np.int64)
    return first, np.minimum(first + 1, cells - 1), middle - first
