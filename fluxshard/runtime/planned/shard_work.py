"""From the shards of a frame to the cells that layers recompute. Two endpoints that agree on shards agree on cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fluxshard.geometry import Grid
from fluxshard.ir.plan import Plan
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.runtime.level_motion import Motion, motion_of
from fluxshard.runtime.planned.image_test import per_pixel
from fluxshard.runtime.planned.levels import Level, per_cell, shard_of_cells
from fluxshard.runtime.planned.proposal import GridWork
from fluxshard.runtime.reuse.displacement import displacement_field

Mask = NDArray[np.bool_]


class ShardWork:
    """Work of frames whose shards are known; a pure function of its arguments.

    Args:
      plan: of the network.
      levels: of the plan.
    """

    def __init__(self, plan: Plan, levels: Sequence[Level]) -> None:
        self._plan = plan
        self._levels = levels
        self._shard_of = {
            grid: _shards_of_grid(plan, plan.grids[grid], level) for level in levels for grid in level.grids
        }
        # where cells without a source lie in shards without one; a level is tested by the motion of its first grid
        self._regular = frozenset(
            index
            for level in levels
            for index in level.grids
            if all(plan.grids[i].has_whole_cells(plan.grids[0], CELL_PX) for i in (index, level.grids[0]))
        )

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each level's shards."""
        height, width = self._plan.image_size
        return tuple((cells(height, level.shard_px), cells(width, level.shard_px)) for level in self._levels)

    def __call__(self, shards: Sequence[Mask], motion: Motion | None) -> dict[int, Mask]:
        """Cells to recompute per index of `Plan.grids`, `(H, W)` bool each; of the image and of every level's grids.

        Args:
          shards: to recompute, per level.
          motion: since the frame that the cache stands for; None for zero.
        """
        work: dict[int, Mask] = {}
        for level, mask in zip(self._levels, shards, strict=True):
            for index in level.grids:
                rows, columns = self._shard_of[index]
                work[index] = mask.take(rows, 0).take(columns, 1)
        pixels = self._image_mask(shards)
        image_motion = motion_of(motion, 0)
        add_unknown(pixels, image_motion)
        work[0] = pixels | work[0] if 0 in work else pixels
        for index, mask in work.items():
            moved = motion_of(motion, index)
            if index and (index not in self._regular or (moved is not None and moved.cell_px % CELL_PX)):
                work[index] = mask | ~displacement_field(moved, self._plan.grids[index], self._plan.grids[0]).valid
        return work

    def planned(self, shards: Sequence[Mask], motion: Motion | None) -> GridWork:
        """The same, counted.

        Args:
          shards, motion: as for a call.
        """
        masks = self(shards, motion)
        evaluated = np.zeros(max(masks) + 1, np.int64)
        for index, mask in masks.items():
            evaluated[index] = np.count_nonzero(mask)
        return GridWork(masks, evaluated, partial(self._moves, motion))

    def _moves(self, motion: Motion | None, index: int) -> bool:
        moved = motion_of(motion, index)
        if moved is None:
            return False
        return not displacement_field(moved, self._plan.grids[index], self._plan.grids[0]).still

    def _image_mask(self, shards: Sequence[Mask]) -> Mask:
        """Pixels that any level recomputes."""
        height, width = self._plan.image_size
        shape = cells(height, CELL_PX), cells(width, CELL_PX)
        total = np.zeros(shape, np.bool_)
        for level, mask in zip(self._levels, shards, strict=True):
            total |= per_cell(mask, level, shape)
        return per_pixel(total, (height, width))


def add_unknown(pixels: Mask, motion: MotionField | None) -> None:
    """Sets the pixels without a source: those that `displacement_field` of the image's grid calls invalid.

    Args:
      pixels: `(H, W)`, contiguous, changed in place.
      motion: None for zero: all have one.
    """
    if motion is None:
        return
    height, width = pixels.shape
    side = motion.cell_px
    moved = motion.displacement.astype(np.int64)
    top = np.arange(moved.shape[0])[:, None] * side - moved[..., 0]
    left = np.arange(moved.shape[1])[None, :] * side - moved[..., 1]
    inside = (top >= 0) & (top + side <= height) & (left >= 0) & (left + side <= width)
    rows, columns = np.nonzero(~(motion.valid & inside))
    if not len(rows):
        return
    within = np.arange(side)
    y, x = top[rows, columns, None] + within, left[rows, columns, None] + within  # sources, per pixel of a cell's side
    known = motion.valid[rows, columns, None, None] & ((y >= 0) & (y < height))[:, :, None]
    unknown = ~(known & ((x >= 0) & (x < width))[:, None, :])
    shape = (top.shape[0], side, left.shape[1], side)
    if pixels.size == math.prod(shape):
        pixels.reshape(shape)[rows, :, columns] |= unknown
        return
    whole = np.zeros(shape, np.bool_)  # cells at the border, too
    whole[rows, :, columns] = unknown
    pixels |= whole.reshape(shape[0] * side, -1)[:height, :width]


def _shards_of_grid(plan: Plan, grid: Grid, level: Level) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    height, width = plan.image_size
    return (
        shard_of_cells(grid.height, grid.stride_y, height, level.shard_px),
        shard_of_cells(grid.width, grid.stride_x, width, level.shard_px),
    )
