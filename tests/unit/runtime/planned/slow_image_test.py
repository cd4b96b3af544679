"""The image test of planned reuse again, from its description: one pixel at a time, in plain Python.

Levels move as they are told; test_motion_choice.py has what they may choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField
from fluxshard.options import OBJECT, SMALL_OBJECT, PlannedOptions
from fluxshard.runtime.planned.levels import Level

Mask = NDArray[np.bool_]
Pair = tuple[int, int]
HALF = Fraction(1, 2)
FIRST_GRID = 1


def level(stride: float | Fraction | tuple[Fraction, Fraction] = 8, *, grid: int = FIRST_GRID, **given: int) -> Level:
    """A level with an 8-px shard, no smoothing and no dilation, that recomputes nothing for its score."""
    both = stride if isinstance(stride, tuple) else (Fraction(stride), Fraction(stride))
    never = {"tau": 1 << 20, "tau_waiting": 1 << 20, "tau_stray": 1 << 20}
    values = {"shard_px": 8, "low_pass_px": 1, "dilation": 0, **never, **given}
    values = {"tau_background": values["tau"], "tau_small": values["tau"], **values}
    return Level(stride=both, grids=(grid,), **values)


def grids_of(size: Pair, levels: Sequence[Level], short: int = 0) -> list[Grid]:
    """The image's grid, and one for each level in their order; grids end so many cells before the image does."""
    grids = [Grid(*size)]
    for one in levels:
        rows, columns = (max(1, math.ceil(px / stride) - short) for px, stride in zip(size, one.stride, strict=True))
        grids.append(Grid(rows, columns, *one.stride))
    return grids


def picture(pixels: NDArray[np.integer]) -> Tensor:
    """`(C, H, W)` in 0..255 as an image of 0..1."""
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(255))[None]


def grown(mask: Mask, by: int) -> Mask:
    """Everything within so many cells of a True cell, diagonally as well."""
    result = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        result[max(0, y - by) : y + by + 1, max(0, x - by) : x + by + 1] = True
    return result


class SlowShardTest:
    """The state of one stream; takes pixels `(C, H, W)` in 0..255."""

    def __init__(self, size: Pair, levels: Sequence[Level], grids: Sequence[Grid], options: PlannedOptions) -> None:
        self.size, self.levels, self.grids, self.options = size, levels, grids, options
        self.cells = [(y, x) for y in range(-(-size[0] // CELL_PX)) for x in range(-(-size[1] // CELL_PX))]
        self.references: list[NDArray[np.int64]] = []
        self.ages: list[dict[Pair, int]] = []
        self.lags: list[dict[Pair, Pair]] = []
        self.hold = {OBJECT: dict.fromkeys(self.cells, 0), SMALL_OBJECT: dict.fromkeys(self.cells, 0)}
        self.has_regions = False

    def keyframe(self, pixels: NDArray[np.integer]) -> None:
        self.references = [pixels.astype(np.int64) for _ in self.levels]
        self.lags = [dict.fromkeys(self.cells, (0, 0)) for _ in self.levels]
        period = self.options.refresh_frames or self.options.wait_frames or 1
        self.ages = []
        for one in self.levels:
            side = one.shard_px // CELL_PX
            self.ages.append({(y, x): (5 * (y // side) + 3 * (x // side)) % period for y, x in self.cells})

    def focus(self, regions: NDArray[np.uint8]) -> None:
        self.has_regions = True
        for y, x in self.cells:
            if regions[y, x]:
                self.hold[OBJECT][y, x] = self.options.hold_frames
            if regions[y, x] == SMALL_OBJECT:
                self.hold[SMALL_OBJECT][y, x] = self.options.hold_frames

    def decide(self, pixels: NDArray[np.integer], motion: MotionField | None) -> list[Mask]:
        near = {kind: self._near(kind, motion) for kind in self.hold}
        return [self._decide(index, pixels.astype(np.int64), motion, near) for index in range(len(self.levels))]

    def _decide(
        self, index: int, pixels: NDArray[np.int64], motion: MotionField | None, near: dict[int, set[Pair]]
    ) -> Mask:
        one, (height, width) = self.levels[index], self.size
        moved = {cell: self._moved_by(cell, motion, one) for cell in self.cells}
        stepped = {cell: self._stepped_by(cell, moved[cell], one, self.lags[index]) for cell in self.cells}
        before, ages = self.references[index], self.ages[index]
        reference = pixels.copy()  # where there is no source it does not matter: such pixels are always recomputed
        standing = pixels.copy()  # what the features were computed from; what has left the image differs by nothing
        unknown = np.zeros(self.size, np.bool_)
        for y in range(height):
            for x in range(width):
                by, (features, lag) = moved[y // CELL_PX, x // CELL_PX], stepped[y // CELL_PX, x // CELL_PX]
                source = None if by is None else (y - by[0], x - by[1])
                if source is None or not self._has(source) or not self._has((y - features[0], x - features[1])):
                    unknown[y, x] = True
                    continue
                reference[:, y, x] = before[:, source[0], source[1]]
                stood = source[0] + lag[0], source[1] + lag[1]
                if self._has(stood):
                    standing[:, y, x] = before[:, stood[0], stood[1]]
        aged = {}
        for cell in self.cells:
            by, (y, x) = stepped[cell][0], self._centre(cell)
            source = self._cell_of((y - by[0], x - by[1]))
            aged[cell] = 255 if moved[cell] is None else min(255, ages[source] + 1)
        side = one.shard_px
        mask = np.zeros((-(-height // side), -(-width // side)), np.bool_)
        for shard in np.ndindex(*mask.shape):
            top, left = shard[0] * side, shard[1] * side
            members = [cell for cell in self.cells if (cell[0] * 8 // side, cell[1] * 8 // side) == shard]
            if unknown[top : top + side, left : left + side].any():
                mask[shard] = True
                continue
            score = self._score(pixels - reference, (top, left), one)
            if not self.has_regions or any(kind.intersection(members) for kind in near.values()):
                score = max(score, self._score(pixels - standing, (top, left), one))
            age = max(aged[cell] for cell in members)
            limit = one.tau
            if self.has_regions:
                limit = one.tau if near[OBJECT].intersection(members) else one.tau_background
                limit = one.tau_small if near[SMALL_OBJECT].intersection(members) else limit
            waited = self.options.wait_frames and age >= self.options.wait_frames and score > one.tau_waiting
            old = self.options.refresh_frames and age >= self.options.refresh_frames
            mask[shard] = bool(score > limit or waited or old)
        mask = grown(mask, one.dilation)
        for y in range(height):
            for x in range(width):
                if mask[y // side, x // side]:
                    reference[:, y, x] = pixels[:, y, x]
        self.references[index] = reference
        renewed = {cell: bool(mask[cell[0] * 8 // side, cell[1] * 8 // side]) for cell in self.cells}
        self.ages[index] = {cell: 0 if renewed[cell] else aged[cell] for cell in self.cells}
        self.lags[index] = {cell: (0, 0) if renewed[cell] else stepped[cell][1] for cell in self.cells}
        return mask

    def _score(self, difference: NDArray[np.int64], corner: Pair, one: Level) -> int:
        """The largest mean over a block, of the differences of the squares' means, in units of 1 / 4080."""
        square, block = one.low_pass_px, max(4, one.low_pass_px)
        best = 0
        for top in range(corner[0], corner[0] + one.shard_px, block):
            for left in range(corner[1], corner[1] + one.shard_px, block):
                total = 0
                for y in range(top, top + block, square):
                    for x in range(left, left + block, square):
                        total += int(np.abs(difference[:, y : y + square, x : x + square].sum((1, 2))).max())
                best = max(best, math.floor(Fraction(total, block * block) * 16))
        return best

    def _point(self, cell: Pair, one: Level) -> Pair:
        """The centre of the feature below a cell, in pixels."""
        grid = self.grids[one.grids[0]]
        at = []
        for centre, stride, n, px in zip(
            self._centre(cell), one.stride, (grid.height, grid.width), self.size, strict=True
        ):
            feature = min(math.floor(centre / stride), n - 1)
            at.append(min(px - 1, math.floor((feature + HALF) * stride)))
        return at[0], at[1]

    def _moved_by(self, cell: Pair, motion: MotionField | None, one: Level) -> Pair | None:
        """What the content of a level moves by below a cell, in pixels; None where nothing is known."""
        if motion is None:
            return 0, 0
        y, x = (at // motion.cell_px for at in self._point(cell, one))
        if not motion.valid[y, x]:
            return None
        dy, dx = (int(m) for m in motion.displacement[y, x])
        return (dy, dx) if _is_lagging(one) else self._whole((dy, dx), one)

    def _stepped_by(self, cell: Pair, moved: Pair | None, one: Level, lags: dict[Pair, Pair]) -> tuple[Pair, Pair]:
        """What the features below a cell move by in pixels, and how far the content is ahead of them afterwards."""
        by = moved or (0, 0)
        if not _is_lagging(one):
            return by, (0, 0)
        y, x = self._point(cell, one)
        lag = lags[self._cell_of((y - by[0], x - by[1]))]
        total = lag[0] + by[0], lag[1] + by[1]
        step = self._whole(total, one)
        return step, (total[0] - step[0], total[1] - step[1])

    def _whole(self, by: Pair, one: Level) -> Pair:
        steps = [math.floor(m / s + HALF) for m, s in zip(by, one.stride, strict=True)]
        y, x = (math.floor(step * stride + HALF) for step, stride in zip(steps, one.stride, strict=True))
        return y, x

    def _near(self, kind: int, motion: MotionField | None) -> set[Pair]:
        hold, moved = self.hold[kind], {}
        for cell in self.cells:
            y, x = self._centre(cell)
            if motion is not None:
                by = motion.displacement[y // motion.cell_px, x // motion.cell_px]
                y, x = y - int(by[0]), x - int(by[1])
            moved[cell] = hold[self._cell_of((y, x))]
        self.hold[kind] = {cell: max(0, left - 1) for cell, left in moved.items()}
        reach = -(-self.options.margin_px // CELL_PX)
        held = [cell for cell in self.cells if moved[cell]]
        return {one for one in self.cells if any(max(abs(one[0] - y), abs(one[1] - x)) <= reach for y, x in held)}

    def _centre(self, cell: Pair) -> Pair:
        return min(cell[0] * 8 + 4, self.size[0] - 1), min(cell[1] * 8 + 4, self.size[1] - 1)

    def _has(self, pixel: Pair) -> bool:
        return 0 <= pixel[0] < self.size[0] and 0 <= pixel[1] < self.size[1]

    def _cell_of(self, pixel: Pair) -> Pair:
        """The cell that holds a pixel, or the nearest one inside the image."""
        y, x = (min(max(at, 0), px - 1) // CELL_PX for at, px in zip(pixel, self.size, strict=True))
        return y, x


def _is_lagging(one: Level) -> bool:
    return all(stride in range(8, 17) for stride in one.stride)
