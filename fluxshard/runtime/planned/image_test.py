"""The image test of planned reuse in numpy: what it computes is the definition, for generated code to reproduce.

The image is tested on cells of 8 px. For each level it keeps what the level's cached features stand for (a reference
image) and how old they are; all of it moves from frame to frame by what the features move by, which is the motion in
whole feature cells. At some strides the reference moves by single pixels instead (`lags`): there the level also keeps
how far the content is ahead of its features. Everything is in integers, so all backends agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, MotionField, cells, centres
from fluxshard.options import OBJECT, SMALL_OBJECT, PlannedOptions
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.planned.hints import Pixels as Displacements
from fluxshard.runtime.planned.hints import content_motion, sampled
from fluxshard.runtime.planned.lags import no_lags, step
from fluxshard.runtime.planned.levels import FORCED, Level, per_cell
from fluxshard.runtime.planned.motion_choice import LevelChoice, Trial, chosen_motion
from fluxshard.runtime.planned.proposal import ShardProposal, stale_proposal

Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]
OLDEST = 255


@dataclass(frozen=True, slots=True)
class _Pending:
    """The last proposal, and the state of the test once it is committed."""

    proposal: ShardProposal
    references: list[Pixels]
    ages: list[NDArray[np.uint8]]
    lags: list[Displacements]
    hold: dict[int, NDArray[np.uint8]]


class ReferenceImageTest:
    """State of the image test of one stream.

    Args:
      image: the image's grid.
      levels: of the plan.
      grids: of the plan; a level moves as its first grid does.
      options: thresholds and times.
    """

    def __init__(self, image: Grid, levels: Sequence[Level], grids: Sequence[Grid], options: PlannedOptions) -> None:
        self._size = image.height, image.width
        self._levels = tuple(levels)
        self._grids = tuple(grids)
        self._options = options
        self._cells = cells(image.height, CELL_PX), cells(image.width, CELL_PX)
        self._references: list[Pixels] = []
        self._ages: list[NDArray[np.uint8]] = []
        self._lags: list[Displacements] = []  # zero at levels whose content moves as its features do
        # for how many frames a cell goes on being near an object, and near a small one
        self._hold = {kind: np.zeros(self._cells, np.uint8) for kind in (OBJECT, SMALL_OBJECT)}
        self._has_regions = False
        self._pending: _Pending | None = None

    def keyframe(self, image: Tensor) -> bool:
        """Takes `(1, C, H, W)` pixels whose features have all been computed.

        Returns:
          whether all are finite; if not, nothing may be reused for the next frame.
        """
        self._pending = None
        pixels, finite = quantise(image, self._options.pixel_range)
        self._references = [pixels] * len(self._levels)
        self._lags = [no_lags(self._size)] * len(self._levels)
        period = self._options.refresh_frames or self._options.wait_frames or 1
        rows, columns = np.ogrid[: self._cells[0], : self._cells[1]]
        self._ages = []
        for level in self._levels:
            side = level.shard_px // CELL_PX
            # shards start at different ages, or all of them would be due in one frame
            turn = (5 * (rows // side) + 3 * (columns // side)) % period
            self._ages.append(turn.astype(np.uint8))
        return finite

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the cells of 8 px of the last frame hold: `(ceil(H / 8), ceil(W / 8))` of `OBJECT`s or 0."""
        self._pending = None
        self._has_regions = True
        self._hold[OBJECT][regions >= OBJECT] = self._options.hold_frames
        self._hold[SMALL_OBJECT][regions == SMALL_OBJECT] = self._options.hold_frames

    def set_levels(self, levels: Sequence[Level]) -> None:
        """Takes the same levels with other thresholds and dilation, from the next proposal on."""
        self._pending = None
        self._levels = tuple(levels)

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        """Finds the shards to recompute; nothing is changed until `commit`.

        Args:
          image: `(1, C, H, W)`.
          motion: since the frame before; None for zero.

        Returns:
          the shards of every level; None where pixels are not finite.
        """
        self._pending = None
        pixels, finite = quantise(image, self._options.pixel_range)
        if not finite:
            return None
        hold = {kind: self._moved_regions(kind, motion) for kind in (OBJECT, SMALL_OBJECT)}
        near, near_small = (self._near(hold[kind]) for kind in (OBJECT, SMALL_OBJECT))
        masks, references, all_ages, lags, trials = [], [], [], [], []
        for index, level in enumerate(self._levels):
            trial = self._trial(index, pixels, motion, near, near_small)
            trials.append(trial)
            mask = dilate(trial.over, level.dilation)
            masks.append(mask)
            recomputed = per_cell(mask, level, self._cells)
            all_ages.append(np.where(recomputed, 0, trial.ages).astype(np.uint8))
            lags.append(np.where(recomputed[..., None], 0, trial.lags))
            references.append(np.where(per_pixel(recomputed, self._size), pixels, self._moved(index, trial)))
        moves = None
        if motion is not None:
            moves = chosen_motion(motion, trials, self._levels, self._grids, self._size)
        proposal = ShardProposal(tuple(masks), moves)
        left = {kind: np.where(frames > 0, frames - 1, 0).astype(np.uint8) for kind, frames in hold.items()}
        self._pending = _Pending(proposal, references, all_ages, lags, left)
        return proposal

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """The last mask that `propose` would give; the state of the test is not changed, but the last proposal is gone.

        Args:
          image, motion: as for `propose`.

        Returns:
          `(ceil(H / shard), ceil(W / shard))` of the last level, `(0, 0)` without levels; None where pixels are not
          finite.
        """
        self._pending = None
        pixels, finite = quantise(image, self._options.pixel_range)
        if not finite:
            return None
        if not self._levels:
            return np.zeros((0, 0), np.bool_)
        near, near_small = (self._near(self._moved_regions(kind, motion)) for kind in (OBJECT, SMALL_OBJECT))
        over = self._trial(len(self._levels) - 1, pixels, motion, near, near_small).over
        return dilate(over, self._levels[-1].dilation)

    def commit(self, proposal: ShardProposal) -> None:
        """Takes the last proposal: from now on the features of its shards stand for the new pixels.

        Raises:
          StateError: it is not the last proposal, or a keyframe or regions came after it.
        """
        pending, self._pending = self._pending, None
        if pending is None or pending.proposal is not proposal:
            raise stale_proposal()
        self._references, self._ages, self._lags = pending.references, pending.ages, pending.lags
        self._hold = pending.hold

    def _trial(self, index: int, pixels: Pixels, motion: MotionField | None, near: Mask, near_small: Mask) -> Trial:
        """How the shards of a level move, and what comes of it."""
        level = self._levels[index]
        grid = self._grids[level.grids[0]]
        limits = self._limits(level, near, near_small)

        close = _any(near | near_small, level) | (not self._has_regions)

        def attempt(content: Displacements, valid: Mask) -> Trial:
            source_y, source_x, known = _sources(content, valid, self._size)
            moved = self._references[index][:, source_y, source_x]
            shift, lags = content, self._lags[index]
            if level.in_pixels:
                taken = step(content, self._lags[index], level, grid, self._size)
                shift, lags = taken.features, taken.lags
                known &= _sources(shift, valid, self._size)[2]
            scores = shard_scores(pixels, moved, known, level)
            if lags.any() and close.any():
                standing = self._standing_scores(index, pixels, content - lags)
                scores = np.where(close, np.maximum(scores, standing), scores)
            ages = _move_ages(self._ages[index], shift, valid, self._size)
            over = self._over(level, scores, _largest(ages, level), limits)
            return Trial(content, shift, valid, lags, ages, scores, over)

        hint = attempt(*content_motion(motion, level, grid, self._size))
        if motion is None or not self._options.candidates:
            return hint
        guarded = _any(near | near_small, level) & _any(~hint.valid, level)
        choice = LevelChoice(level=level, grid=grid, size=self._size, attempt=attempt)
        return choice.choose(hint, motion, limits, guarded & self._has_regions)

    def _standing_scores(self, index: int, pixels: Pixels, shift: Displacements) -> NDArray[np.int32]:
        """Scores against the pixels that the features were computed from, where the features will be.

        Only what looks alike from where its content is and from where its features are may lag near objects, where half
        a feature matters. Pixels that have left the image since then differ by nothing.

        Args:
          index: of the level.
          pixels: `(C, H, W)`, the frame.
          shift: `(rows, columns, 2)` from these pixels to the features.
        """
        everywhere = np.ones(self._cells, np.bool_)
        source_y, source_x, inside = _sources(shift, everywhere, self._size)
        moved = np.where(inside, self._references[index][:, source_y, source_x], pixels)
        return shard_scores(pixels, moved, np.ones(self._size, np.bool_), self._levels[index])

    def _moved(self, index: int, trial: Trial) -> Pixels:
        source_y, source_x, _ = _sources(trial.content, trial.valid, self._size)
        moved: Pixels = self._references[index][:, source_y, source_x]
        return moved

    def _limits(self, level: Level, near: Mask, near_small: Mask) -> NDArray[Any] | int:
        """Largest score of each shard that is reused."""
        if not self._has_regions:
            return level.tau
        return np.where(
            _any(near_small, level), level.tau_small, np.where(_any(near, level), level.tau, level.tau_background)
        )

    def _over(
        self, level: Level, scores: NDArray[np.int32], ages: NDArray[np.uint8], limits: NDArray[Any] | int
    ) -> Mask:
        """Shards that have to be recomputed."""
        options = self._options
        over = [scores > limits]
        if options.wait_frames:
            over.append((scores > level.tau_waiting) & (ages >= options.wait_frames))
        if options.refresh_frames:
            over.append(ages >= options.refresh_frames)
        return np.asarray(np.logical_or.reduce(over))

    def _near(self, hold: NDArray[np.uint8]) -> Mask:
        return dilate(hold > 0, cells(self._options.margin_px, CELL_PX))

    def _moved_regions(self, kind: int, motion: MotionField | None) -> NDArray[np.uint8]:
        """For how many frames each cell still belongs to a region of a kind, where its content is now."""
        still = np.zeros((*self._cells, 2), np.int64)
        shift = still if motion is None else sampled(motion, *map(centres, self._size))[0]
        return _gather_cells(self._hold[kind], shift, self._size)


def quantise(image: Tensor, pixel_range: tuple[float, float]) -> tuple[Pixels, bool]:
    """Pixels `(C, H, W)` in 0..255, halves to even, and whether all were finite; what is not becomes 0.

    Args:
      image: `(1, C, H, W)` float32, or uint8 with the values of `PixelValues`.
      pixel_range: what 0 and 255 stand for.
    """
    low, high = pixel_range
    values = PixelValues(low, high).floats(image.cpu())[0].numpy()
    finite = np.isfinite(values)
    whole = bool(finite.all())
    if not whole:
        values = np.where(finite, values, np.float32(low))
    with np.errstate(over="ignore"):  # what overflows is clipped
        scaled = np.rint((values - np.float32(low)) * np.float32(255 / (high - low)))
    return np.clip(scaled, 0, 255).astype(np.uint8), whole


def shard_scores(pixels: Pixels, moved: Pixels, known: Mask, level: Level) -> NDArray[np.int32]:
    """Score of every shard: the largest of its blocks' mean differences, in units of 1 / 4080 of the range.

    A block is 4x4 px, or 8x8 where the images are smoothed over 8 px. The difference of a square of `low_pass_px` is
    that of the sums over its pixels, the largest over the colours; pixels outside the image differ by nothing.

    Args:
      pixels, moved: `(C, H, W)`: the frame, and what the features stand for where they will be.
      known: `(H, W)`; a shard that holds a pixel without source scores `FORCED`.
      level: shard, block and smoothing.

    Returns:
      `(ceil(H / shard), ceil(W / shard))`.
    """
    side, block, square = level.shard_px, level.block_px, level.low_pass_px
    difference = _padded(pixels.astype(np.int32) - moved.astype(np.int32), side)
    channels, height, width = difference.shape
    squares = difference.reshape(channels, height // square, square, width // square, square).sum((2, 4))
    largest = np.abs(squares).max(0)
    per_block = block // square
    blocks = largest.reshape(height // block, per_block, width // block, per_block).sum((1, 3)) // (block // 4) ** 2
    per_shard = side // block
    scores = blocks.reshape(height // side, per_shard, width // side, per_shard).max((1, 3)).astype(np.int32)
    unknown = _padded(~known[None], side)[0].reshape(height // side, side, width // side, side).any((1, 3))
    return np.where(unknown, FORCED, scores).astype(np.int32)


def dilate(mask: Mask, times: int) -> Mask:
    """Adds the eight neighbours of every True cell, so many times; the mask itself is not changed."""
    grown = mask
    for _ in range(min(times, max(mask.shape, default=0))):  # by then all that can be reached has been
        rows = grown.copy()
        rows[1:] |= grown[:-1]
        rows[:-1] |= grown[1:]
        grown = rows.copy()
        grown[:, 1:] |= rows[:, :-1]
        grown[:, :-1] |= rows[:, 1:]
    return grown


def _sources(
    shift: NDArray[np.int64], valid: Mask, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Mask]:
    """Source of each pixel, clipped to the image, and whether it has one: all `(H, W)`."""
    height, width = size
    y = np.arange(height)[:, None] - per_pixel(shift[..., 0], size)
    x = np.arange(width)[None, :] - per_pixel(shift[..., 1], size)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return np.clip(y, 0, height - 1), np.clip(x, 0, width - 1), inside & per_pixel(valid, size)


def _gather_cells(values: NDArray[np.uint8], shift: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Each 8-px cell takes the value of the cell that its centre comes from, the nearest inside the image."""
    y = np.clip(centres(size[0])[:, None] - shift[..., 0], 0, size[0] - 1) // CELL_PX
    x = np.clip(centres(size[1])[None, :] - shift[..., 1], 0, size[1] - 1) // CELL_PX
    moved: NDArray[np.uint8] = values[y, x]
    return moved


def _move_ages(
    ages: NDArray[np.uint8], shift: NDArray[np.int64], valid: Mask, size: tuple[int, int]
) -> NDArray[np.uint8]:
    moved = _gather_cells(ages, shift, size).astype(np.int64) + 1
    return np.where(valid, np.minimum(moved, OLDEST), OLDEST).astype(np.uint8)


def _blocks(values: NDArray[Any], level: Level) -> NDArray[Any]:
    """8-px cells grouped by shard: `(shards_y, side, shards_x, side)`; beyond the image there is zero."""
    side = level.shard_px // CELL_PX
    rows, columns = -(-values.shape[0] // side), -(-values.shape[1] // side)
    padded = np.zeros((rows * side, columns * side), values.dtype)
    padded[: values.shape[0], : values.shape[1]] = values
    return padded.reshape(rows, side, columns, side)


def _largest(ages: NDArray[np.uint8], level: Level) -> NDArray[np.uint8]:
    largest: NDArray[np.uint8] = _blocks(ages, level).max((1, 3))
    return largest


def _any(mask: Mask, level: Level) -> Mask:
    return np.asarray(_blocks(mask, level).any((1, 3)))


def per_pixel(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Values of 8-px cells for every pixel of an image of `size`."""
    # columns first: there are fewer of them to copy
    return values.repeat(CELL_PX, 1)[:, : size[1]].repeat(CELL_PX, 0)[: size[0]]


def _padded(values: NDArray[Any], multiple: int) -> NDArray[Any]:
    height, width = values.shape[1:]
    return np.pad(values, ((0, 0), (0, -height % multiple), (0, -width % multiple)))
