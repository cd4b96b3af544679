"""Motion between pictures, found by comparing blocks: the definition, in numpy; generated code finds the same.

Coarse to fine, in grey values:

1. Areas of 32x32 px look at all displacements within reach, at a fourth of the size.
2. Blocks of 16x16 px try zero, what the areas around them found, and what the last picture's blocks around them had;
   then what is beside the best of these, in steps of 2 and three times 1 px.
3. Blocks try what their eight neighbours have found; what sets a block apart from its neighbours costs.
4. Cells of 8x8 px take the motion of their block, or of one of the three blocks beside them where it leaves less than
   three quarters as much. A cell that does not look like its source has none, nor has one whose block does not, or has
   not two neighbours that move like that: such motion is found by chance more often than not.

Blocks that hardly differ from what was in their place before stay there. Pictures are continued by their borders;
sources lie in a rim of `rim_px` at most. All of it is in integers, and every step looks only at what the step before it
has left, so its blocks can be searched in any order.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.cpp.motion.block_search import BlockSearchParams
from fluxshard.motion import CELL_PX, cells

_BLOCK, _AREA, _SCALE = 16, 32, 4
_DISTANT = 8  # px between neighbours' motions, beyond which it is all the same
_COMPANY = 2  # neighbours that have to move alike
_AROUND = ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0))
_NEXT = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x)
_STEPS = (2, 1, 1, 1)

Vectors = NDArray[np.int64]  # (rows, columns, 2) px (dy, dx)
Plane = NDArray[np.int64]
T = TypeVar("T", bound=np.generic)


class ReferenceBlockSearch:
    """Finds the motion of a stream's pictures; see the module's docstring.

    Args:
      height, width: of the pictures in pixels.
      params: what is searched.
    """

    def __init__(self, height: int, width: int, params: BlockSearchParams) -> None:
        self._params = params
        self._size = height, width
        self._full = cells(height, _AREA) * _AREA, cells(width, _AREA) * _AREA
        self._blocks = cells(height, _BLOCK), cells(width, _BLOCK)
        self._last: Vectors = np.zeros((*self._blocks, 2), np.int64)
        self._before: tuple[Plane, Plane] | None = None

    def motion(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int16], NDArray[np.bool_]] | None:
        """Takes a picture; as `BlockSearchLibrary.motion`."""
        now = self._planes(pixels)
        before, self._before = self._before, now
        if before is None:
            return None
        zero = self._rest(now[0], before[0], _BLOCK, np.zeros_like(self._last))
        open_blocks = zero > self._params.settled
        areas = self._areas(now[1], before[1], open_blocks)
        found = self._found(now[0], before[0], areas, zero, open_blocks)
        self._last = self._smooth(now[0], before[0], found, open_blocks)
        return self._cells(now[0], before[0], self._last)

    def _planes(self, pixels: NDArray[np.uint8]) -> tuple[Plane, Plane]:
        """Grey values, continued by their borders, and the same at a fourth of the size; both with a rim."""
        red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
        grey = (red + 2 * green + blue + 2) >> 2
        full = np.pad(
            grey, [(0, whole - part) for whole, part in zip(self._full, grey.shape, strict=True)], mode="edge"
        )
        parts = full.reshape(full.shape[0] // _SCALE, _SCALE, full.shape[1] // _SCALE, _SCALE).sum((1, 3))
        far = (parts + _SCALE * _SCALE // 2) // (_SCALE * _SCALE)
        rim = self._params.rim_px
        return np.pad(full, rim, mode="edge"), np.pad(far, rim // _SCALE, mode="edge")

    def _areas(self, now: Plane, before: Plane, open_blocks: NDArray[np.bool_]) -> Vectors:
        rows, columns = self._full[0] // _AREA, self._full[1] // _AREA
        padded = np.zeros((2 * rows, 2 * columns), np.bool_)
        padded[: self._blocks[0], : self._blocks[1]] = open_blocks
        searched = padded.reshape(rows, 2, columns, 2).any((1, 3))
        best = np.zeros((rows, columns, 2), np.int64)
        least = np.full((rows, columns), 1 << 30, np.int64)
        reach = self._params.reach_px // _SCALE
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                shift = np.broadcast_to(np.array((dy, dx)), best.shape)
                cost = 8 * self._rest(now, before, _AREA // _SCALE, shift, _SCALE) + abs(dy) + abs(dx)
                better = searched & (cost < least)
                least = np.where(better, cost, least)
                best = np.where(better[..., None], _SCALE * shift, best)
        return best

    def _found(self, now: Plane, before: Plane, areas: Vectors, zero: Plane, open_blocks: NDArray[np.bool_]) -> Vectors:
        best, least = np.zeros_like(self._last), zero
        rows, columns = np.indices(self._blocks)

        def attempt(vectors: Vectors) -> None:
            nonlocal best, least
            vectors = self._reachable(vectors, _BLOCK)
            cost = self._rest(now, before, _BLOCK, vectors) + self._params.stray
            better = open_blocks & (cost < least)
            best, least = np.where(better[..., None], vectors, best), np.where(better, cost, least)

        for y in (-1, 0, 1):
            for x in (-1, 0, 1):
                attempt(_nearest(areas, rows // 2 + y, columns // 2 + x))
        for y, x in _AROUND:
            attempt(_nearest(self._last, rows + y, columns + x))
        for step in _STEPS:
            centre = best
            for y, x in _NEXT:
                attempt(centre + np.array((y * step, x * step)))
        return best

    def _smooth(self, now: Plane, before: Plane, found: Vectors, open_blocks: NDArray[np.bool_]) -> Vectors:
        rows, columns = np.indices(self._blocks)
        beside = [(_nearest(found, rows + y, columns + x), self._inside(rows + y, columns + x)) for y, x in _NEXT]

        def cost_of(vectors: Vectors) -> Plane:
            apart = sum(
                np.where(inside, np.minimum(np.abs(other - vectors).sum(-1), _DISTANT), 0) for other, inside in beside
            )
            return self._rest(now, before, _BLOCK, vectors) + apart * self._params.stray // 4

        best, least = found, cost_of(found)
        for other, inside in beside:
            vectors = self._reachable(other, _BLOCK)
            cost = cost_of(vectors)
            better = open_blocks & inside & (cost < least)
            best, least = np.where(better[..., None], vectors, best), np.where(better, cost, least)
        return best

    def _cells(self, now: Plane, before: Plane, vectors: Vectors) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        matched = self._matched(now, before, vectors)
        rows, columns = np.indices((cells(self._size[0], CELL_PX), cells(self._size[1], CELL_PX)))
        best, known = _nearest(vectors, rows // 2, columns // 2), _nearest(matched, rows // 2, columns // 2)
        own = least = self._rest(now, before, CELL_PX, best)
        beside_y, beside_x = rows // 2 + np.where(rows % 2, 1, -1), columns // 2 + np.where(columns % 2, 1, -1)
        for y, x in ((beside_y, columns // 2), (rows // 2, beside_x), (beside_y, beside_x)):
            other = self._reachable(_nearest(vectors, y, x), CELL_PX)
            rest = self._rest(now, before, CELL_PX, other)
            better = (rest < least) & (4 * rest < 3 * own)
            best, least = np.where(better[..., None], other, best), np.where(better, rest, least)
            known = np.where(better, _nearest(matched, y, x), known)
        known = known & self._alike(now, before, CELL_PX, best, self._params.flat)
        return np.where(known[..., None], best, 0).astype(np.int16), known

    def _matched(self, now: Plane, before: Plane, vectors: Vectors) -> NDArray[np.bool_]:
        """Blocks that look like their sources, and do not move alone."""
        zero = self._rest(now, before, _BLOCK, np.zeros_like(vectors))
        alike = self._alike(now, before, _BLOCK, vectors, self._params.settled)
        rows, columns = np.indices(self._blocks)
        company = np.zeros(self._blocks, np.int64)
        for y, x in _NEXT:
            near = np.abs(_nearest(vectors, rows + y, columns + x) - vectors).sum(-1) < _DISTANT
            company += self._inside(rows + y, columns + x) & _nearest(alike, rows + y, columns + x) & near
        return alike & ((zero <= self._params.settled) | (company >= min(_COMPANY, alike.size - 1)))

    def _alike(self, now: Plane, before: Plane, side: int, vectors: Vectors, hardly: int) -> NDArray[np.bool_]:
        """Which squares look like their sources."""
        here = self._patches(now, side, np.zeros_like(vectors), 1)
        there = self._patches(before, side, vectors, 1)
        rest, spread = np.abs(here - there).sum((-2, -1)), np.minimum(_spread(here), _spread(there))
        return np.asarray((rest <= hardly) | (4 * rest <= self._params.rough * spread))

    def _rest(self, now: Plane, before: Plane, side: int, vectors: Vectors, scale: int = 1) -> Plane:
        """Sums of absolute differences of squares to their sources."""
        here = self._patches(now, side, np.zeros_like(vectors), scale)
        rest: Plane = np.abs(here - self._patches(before, side, vectors, scale)).sum((-2, -1))
        return rest

    def _patches(self, plane: Plane, side: int, vectors: Vectors, scale: int) -> Plane:
        """`(rows, columns, side, side)` values of the sources of squares."""
        rim, along = self._params.rim_px // scale, np.arange(side)
        top = np.arange(vectors.shape[0])[:, None] * side - vectors[..., 0] + rim
        left = np.arange(vectors.shape[1])[None, :] * side - vectors[..., 1] + rim
        patches: Plane = plane[(top[..., None] + along)[..., :, None], (left[..., None] + along)[..., None, :]]
        return patches

    def _reachable(self, vectors: Vectors, side: int) -> Vectors:
        """The vectors nearest to these whose sources lie in the rim."""
        rim = self._params.rim_px
        ends = []
        for axis, full in enumerate(self._full):
            count = vectors.shape[axis]
            start = np.arange(count).reshape((count, 1) if axis == 0 else (1, count)) * side
            ends.append(np.clip(vectors[..., axis], start + side - full - rim, start + rim))
        return np.stack(ends, -1)

    def _inside(self, rows: Plane, columns: Plane) -> NDArray[np.bool_]:
        return (rows >= 0) & (rows < self._blocks[0]) & (columns >= 0) & (columns < self._blocks[1])


def _nearest(values: NDArray[T], rows: Plane, columns: Plane) -> NDArray[T]:
    """Values at places, or where these are outside, the nearest inside."""
    found: NDArray[T] = values[np.clip(rows, 0, values.shape[0] - 1), np.clip(columns, 0, values.shape[1] - 1)]
    return found


def _spread(patches: Plane) -> Plane:
    """What `(..., side, side)` values differ from their own mean by."""
    area = patches.shape[-1] * patches.shape[-2]
    mean = (patches.sum((-2, -1)) + area // 2) // area
    spread: Plane = np.abs(patches - mean[..., None, None]).sum((-2, -1))
    return spread
