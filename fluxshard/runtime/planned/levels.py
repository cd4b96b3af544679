"""Levels of planned reuse: the features of one stride share one test of the image and one mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.ir.plan import Plan
from fluxshard.motion import CELL_PX, cells
from fluxshard.options import LevelOptions, PlannedOptions
from fluxshard.runtime.reuse.displacement import sample_points

SCALE = 4080  # scores are sums of 16 differences of pixels in 0..255
BLOCK_PX = 4  # side of the blocks that the largest mean is taken over; of 8 px where images are smoothed over as many
FINEST_LAGGING_PX, COARSEST_LAGGING_PX = 8, 16  # strides at which content moves by single pixels
FORCED = np.int32(1 << 30)  # score of a shard that has no source


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One stride. Sides and motion are in pixels of the image.

    Attributes:
      stride: (y, x) pixels per feature cell.
      grids: indices into `Plan.grids`.
      shard_px: side of a shard, a multiple of 8.
      low_pass_px: side of the squares whose means are compared: 1, 2, 4 or 8.
      dilation: shards that a recomputed shard takes with it on every side.
      tau, tau_background, tau_small, tau_waiting, tau_stray: thresholds on scores: residuals in units of 1 / 4080 of
        the pixels' range.
    """

    stride: tuple[Fraction, Fraction]
    grids: tuple[int, ...]
    shard_px: int
    low_pass_px: int
    dilation: int
    tau: int
    tau_background: int
    tau_small: int
    tau_waiting: int
    tau_stray: int

    @property
    def in_pixels(self) -> bool:
        """See `moves_in_pixels`."""
        return moves_in_pixels(self.stride)

    @property
    def block_px(self) -> int:
        """Side of the blocks whose largest mean is a shard's score."""
        return max(BLOCK_PX, self.low_pass_px)


def levels_of(plan: Plan, options: PlannedOptions) -> tuple[Level, ...]:
    """The levels of a plan by rising stride; grids of one stride belong to one level.

    Grids as fine as the image are a level only if layers are computed there; the image itself takes what any level
    recomputes. It is the only level of a network without layers on grids.
    """
    used = {plan.value(name).grid for layer in plan.layers for name in layer.outputs} - {None} or {0}
    strides: dict[tuple[Fraction, Fraction], list[int]] = {}
    for index, grid in enumerate(plan.grids):
        if index in used:
            strides.setdefault((grid.stride_y, grid.stride_x), []).append(index)
    return tuple(
        _level(stride, tuple(grids), options)
        for stride, grids in sorted(strides.items(), key=lambda item: max(item[0]))
    )


def per_cell(values: NDArray[Any], level: Level, shape: tuple[int, int]) -> NDArray[Any]:
    """Values of shards, `(shards_y, shards_x, ...)`, for every 8-px cell, `shape` of them."""
    side = level.shard_px // CELL_PX
    return values.repeat(side, 0).repeat(side, 1)[: shape[0], : shape[1]]


def level_of_grids(levels: Sequence[Level]) -> tuple[int | None, ...]:
    """The level of every grid, up to the last grid that has one; None for those that have none."""
    of = {grid: number for number, level in enumerate(levels) for grid in level.grids}
    return tuple(of.get(grid) for grid in range(max(of, default=-1) + 1))


def thresholds(levels: Sequence[Level], reach: int) -> NDArray[np.int32]:
    """What generated tests are given of levels, `(levels, 6)`: `Taus` of their sources.

    Args:
      levels: of the plan.
      reach: dilation by more shards than these is no more.
    """
    return np.array(
        [
            (one.tau, one.tau_background, one.tau_small, one.tau_waiting, one.tau_stray, min(one.dilation, reach))
            for one in levels
        ],
        np.int32,
    )


def _level(stride: tuple[Fraction, Fraction], grids: tuple[int, ...], options: PlannedOptions) -> Level:
    largest = -(-max(stride) // 1)
    level = options.levels.get(largest, LevelOptions())
    shard_px = level.shard_px or default_shard_px(largest)
    gain = default_gain(largest) if level.gain is None else level.gain
    background = options.tau if options.tau_background is None else options.tau_background
    return Level(
        stride=stride,
        grids=grids,
        shard_px=shard_px,
        low_pass_px=level.low_pass_px or default_low_pass_px(largest),
        dilation=options.dilation if level.dilation is None else level.dilation,
        tau=_score(options.tau * gain),
        tau_background=_score(background * gain),
        tau_small=_score((options.tau if options.tau_small is None else options.tau_small) * gain),
        tau_waiting=_score(options.tau_waiting * gain),
        tau_stray=_score(max(options.tau_stray, options.tau) * gain),
    )


def moves_in_pixels(stride: tuple[Fraction, Fraction]) -> bool:
    """Whether content moves by single pixels in the reference of a level, at whole strides of 8 to 16.

    Finer features follow to within two pixels. Coarser ones see the image smoothed, and half of one is too far from its
    content to stand for it.
    """
    return all(px.denominator == 1 and FINEST_LAGGING_PX <= px <= COARSEST_LAGGING_PX for px in stride)


def default_shard_px(stride_px: int) -> int:
    """8 up to a stride of 8, 16 up to 16, and otherwise the stride, rounded up to whole cells of 8 px."""
    return 8 if stride_px <= 8 else 16 if stride_px <= 16 else CELL_PX * cells(stride_px, CELL_PX)


def default_gain(stride_px: int) -> float:
    """Fine features are read by everything behind them; coarse ones see the image smoothed."""
    return 0.8 if stride_px <= 8 else 1.2 if stride_px <= 16 else 1.5


def default_low_pass_px(stride_px: int) -> int:
    """A quarter of the stride: 1 up to a stride of 4, then 2, 4 and 8."""
    return next(px for px in (8, 4, 2, 1) if 4 * px <= max(stride_px, 4))


def _score(tau: float) -> int:
    return min(round(SCALE * tau), int(FORCED) - 1)


def shard_of_cells(n_cells: int, stride: Fraction, n_px: int, shard_px: int) -> NDArray[np.int64]:
    """For each feature cell of one axis, the shard that holds the pixel `min(n_px - 1, floor((i + 1/2) * S))`.

    Args:
      n_cells: feature cells.
      stride: S, in pixels per cell.
      n_px: pixels of the image.
      shard_px: side of a shard.
    """
    return sample_points(np.arange(n_cells, dtype=np.int64), stride, n_px) // shard_px
