"""Which displacement each shard of a level takes. The caller's motion is a hint, one candidate of several.

Codecs choose vectors to save bits, not to follow objects; blocks that they code anew have none; and what a level has
cached is not the last frame but what it last recomputed, so that slow motion adds up to a feature now and then. So
where the hint leaves more than half of what is allowed, a shard looks at other displacements, and takes one that fits
its own cache:

1. zero, and the most frequent motion of the frame: where they spare the shard, or leave less than three quarters of the
   residual;
2. where the shard would still be recomputed: the hints of its four neighbours, and what is next to its own hint, in
   this order; the first that spares it. Next to a hint is the hint rounded the other way; where content moves by single
   pixels (`Level.in_pixels`), nothing is rounded, and it is one pixel in each of eight directions.

A shard that no candidate spares keeps its hint. What a candidate other than the hint leaves must also stay below
`PlannedOptions.tau_stray`. Near objects a cell without a hint is recomputed as before: nothing says that what was there
is not behind something now, however alike it looks.

In numpy, as the definition: generated code chooses alike, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField, cells, centres
from fluxshard.runtime.level_motion import LevelMotion
from fluxshard.runtime.planned.hints import (
    Mask,
    Pixels,
    content_motion,
    dominant_motion,
    hinted_px,
    level_motion,
    sampled,
    whole_features,
)
from fluxshard.runtime.planned.levels import Level, level_of_grids, per_cell

_BESIDE = ((0, -1), (0, 1), (-1, 0), (1, 0))  # in the order in which they are tried
# one pixel in each direction, in the order in which they are tried: those along an axis are more often right
_NEXT = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
_BETTER, _THAN = 4, 3  # a residual is better where 4 times it is less than 3 times the other


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What comes of displacements.

    Attributes:
      content: `(rows, columns, 2)` pixels per 8-px cell, that the reference moves by.
      shift: the same of the features; the two differ only where content moves by single pixels.
      valid: `(rows, columns)` the displacement is known.
      lags: `(rows, columns, 2)` pixels of the content beyond the features; zero where the two move alike.
      ages: `(rows, columns)` of the features, in frames.
      scores: per shard.
      over: per shard, it would be recomputed.
    """

    content: Pixels
    shift: Pixels
    valid: Mask
    lags: Pixels
    ages: NDArray[np.uint8]
    scores: NDArray[np.int32]
    over: Mask

    def but(self, shards: Mask, other: Trial, level: Level) -> Trial:
        """This, with another trial's displacements for some shards."""
        inside = per_cell(shards, level, self.valid.shape)
        return Trial(
            content=np.where(inside[..., None], other.content, self.content),
            shift=np.where(inside[..., None], other.shift, self.shift),
            valid=np.where(inside, other.valid, self.valid),
            lags=np.where(inside[..., None], other.lags, self.lags),
            ages=np.where(inside, other.ages, self.ages),
            scores=np.where(shards, other.scores, self.scores),
            over=np.where(shards, other.over, self.over),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChoice:
    """Chooses for the shards of one level.

    Attributes:
      level: of the plan.
      grid: that it moves as.
      size: (H, W) of the image in pixels.
      attempt: what comes of displacements of every 8-px cell's content: `(rows, columns, 2)` pixels, and where they are
        known.
    """

    level: Level
    grid: Grid
    size: tuple[int, int]
    attempt: Callable[[Pixels, Mask], Trial]

    def choose(self, hint: Trial, motion: MotionField, limits: NDArray[Any] | int, guarded: Mask) -> Trial:
        """The trial that every shard takes.

        Args:
          hint: what comes of the hint.
          motion: that is the hint.
          limits: largest score that is reused, per shard or of all.
          guarded: per shard, it takes its hint.
        """
        if motion.valid.all() and not motion.displacement.any():
            return hint  # a still picture is no reason to search
        level = self.level
        open_shards = (hint.over | (hint.scores > np.asarray(limits) // 2)) & ~guarded
        best = hint
        dominant = dominant_motion(motion)
        for shift in (np.zeros(2, np.int64), dominant if level.in_pixels else whole_features(dominant, level)):
            other = self._attempt(np.broadcast_to(shift, (*hint.scores.shape, 2)))
            fits = _BETTER * other.scores.astype(np.int64) < _THAN * best.scores.astype(np.int64)
            spares, alike = best.over & ~other.over, best.over == other.over
            best = best.but(open_shards & (spares | (alike & fits)), other, level)
        for shifts in self._beside_hint(hint, motion):
            still = open_shards & best.over
            if not still.any():
                break
            other = self._attempt(shifts)
            best = best.but(still & ~other.over, other, level)
        return best.but(best.over, hint, level)

    def _attempt(self, shifts: Pixels) -> Trial:
        """What comes of one displacement per shard."""
        shape = cells(self.size[0], CELL_PX), cells(self.size[1], CELL_PX)
        trial = self.attempt(per_cell(shifts, self.level, shape), np.ones(shape, np.bool_))
        return replace(trial, over=trial.over | (trial.scores > self.level.tau_stray))

    def _beside_hint(self, hint: Trial, motion: MotionField) -> Iterator[Pixels]:
        """Displacements of shards that are near their hints; a shard's hint is that of its first cell."""
        side = self.level.shard_px // CELL_PX
        own = hint.content[::side, ::side]
        rows, columns = own.shape[:2]
        around = np.pad(own, ((1, 1), (1, 1), (0, 0)), mode="edge")
        for dy, dx in _BESIDE:
            yield around[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
        if self.level.in_pixels:
            for by in _NEXT:
                yield own + np.array(by)
            return
        exact, valid = hinted_px(motion, self.level, self.grid, self.size)
        exact = np.where(valid[..., None], exact, 0)[::side, ::side]
        away = whole_features(own, self.level, np.sign(exact - own))
        for y, x in ((away, own), (own, away), (away, away)):
            yield np.stack([y[..., 0], x[..., 1]], -1)


def chosen_motion(
    motion: MotionField, trials: list[Trial], levels: tuple[Level, ...], grids: tuple[Grid, ...], size: tuple[int, int]
) -> LevelMotion | None:
    """The motion of the features of every level, and of the image.

    The image follows the content of the finest level where that does not take its hint.

    Args:
      motion: the hint.
      trials: that levels chose.
      levels, grids: of the plan.
      size: (H, W) of the image in pixels.

    Returns:
      None where all levels, and the image, move as the hint says.
    """
    if not levels:
        return None
    strays = []
    for level, trial in zip(levels, trials, strict=True):
        shift, valid = level_motion(motion, level, grids[level.grids[0]], size)
        strays.append((valid != trial.valid) | (shift != trial.shift).any(-1))
    content, valid = content_motion(motion, levels[0], grids[levels[0].grids[0]], size)
    beside = (valid != trials[0].valid) | (content != trials[0].content).any(-1)
    if not beside.any() and not any(stray.any() for stray in strays):
        return None
    given, known = sampled(motion, *map(centres, size))
    image = MotionField(np.where(beside[..., None], trials[0].content, given), np.where(beside, trials[0].valid, known))
    fields = tuple(MotionField(trial.shift, trial.valid) for trial in trials)
    return LevelMotion(image, fields, level_of_grids(levels))
