"""Regions where a network's outputs have changed, for planned reuse of networks whose outputs are unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import OBJECT
from fluxshard.pipeline.saliency.output_maps import OutputMap, output_maps

CHANGE = 0.02  # of the range of the outputs, from which on a change counts
TAU_BACKGROUND = 0.1  # goes with it: what is no region now has to be able to become one soon
_RANGE = 0.005  # share of a channel's cells beyond its range on either side: a single cell does not set the scale
_SAMPLES = 1024  # cells at most that a range is taken from
_LEAST_RANGE = 0.1  # of the widest channel's range: channels that say nothing now are not amplified
_FORGET = 0.98  # per frame, of a range: it widens at once, and narrows slowly


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A map of the last frame, and the range of each of its channels, `(C,)`."""

    map: OutputMap
    range: Tensor


class OutputSaliency:
    """The regions of one stream: where its outputs have changed by more than the motion explains.

    Planned reuse takes small thresholds in regions. Where recomputation changes the outputs, it is worth its work;
    where outputs do not react to what changes in the image, the background's threshold does.

    The change of a cell is how far its value is outside the range of what was around its source in the last frame:
    what is inside, motion explains, which is of blocks and in whole pixels. It is measured in ranges of its channel; of
    the channels, the root mean square counts. Changes are averaged over 3 x 3 cells: a region is an area, noise is not.

        saliency = OutputSaliency((height, width))
        out = session.run(image, motion)
        marked = saliency.update(out, motion)
        if marked is not None:
            session.focus(marked)

    What is not recomputed cannot change, and is no region any more when `hold_frames` are over. The background's rules,
    `tau_background` and `tau_waiting`, recompute it now and then; where that changes the outputs, it is a region again.
    That is soon with `PlannedOptions(tau_background=TAU_BACKGROUND)`, lower than what is right away from known objects.

    Args:
      size: (H, W) in pixels of what the outputs describe: the image, or the canvas.
      change: share of a channel's range above which a change counts.

    Attributes:
      size: as given.
    """

    def __init__(self, size: tuple[int, int], change: float = CHANGE) -> None:
        self.size, self._change = size, change
        self._seen: list[_Seen] = []
        self._origin = 0, 0
        self._has_spoken = False

    def reset(self) -> None:
        """Forgets the stream: the next frame counts as the first. Call it where `Session.reset` is called."""
        self._seen, self._has_spoken = [], False

    def update(
        self, outputs: Any, motion: MotionField | None = None, origin: tuple[int, int] = (0, 0)
    ) -> NDArray[np.uint8] | None:
        """Takes the outputs of the next frame.

        Args:
          outputs: of any structure, on the CPU. `output_maps` says which of them are maps; others are ignored.
          motion: of the image since the frame before; None compares at zero displacement.
          origin: (y, x) of the image on the canvas that the outputs describe (`Session.origin`).

        Returns:
          `(ceil(H / 8), ceil(W / 8))` uint8, `options.OBJECT` in regions, else 0, for `Session.focus`. None while there
          is nothing to compare: no output has been a map, or this frame is the first; a session that has not been told
          regions takes all of the image as near. Afterwards that is said of frames that cannot be compared.
        """
        maps = output_maps(outputs, self.size)
        before, moved_by = self._seen, (origin[0] - self._origin[0], origin[1] - self._origin[1])
        comparable = [_same_kind(a, b.map) for a, b in zip(maps, before, strict=False)]
        is_next = len(maps) == len(before) and all(comparable)
        self._seen = [_seen(map, before[i] if is_next else None) for i, map in enumerate(maps)]
        self._origin = origin
        if not before and not self._has_spoken:
            return None
        self._has_spoken = True
        shape = cells(self.size[0], CELL_PX), cells(self.size[1], CELL_PX)
        if not is_next or not maps:
            return np.full(shape, OBJECT, np.uint8)
        level, doubt = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
        for now, old in zip(self._seen, before, strict=True):
            # the centre of each cell of a map, in cells of the map's last frame
            source = self._source(now.map, motion, origin, moved_by)
            doubtful = _doubts(now.map, old.map, source)
            changes = _changes(now, old, source).masked_fill(doubtful, 0)
            level = torch.maximum(level, _spread(changes, shape))
            doubt |= _spread(doubtful.float(), shape) > 0
        smooth = F.avg_pool2d(level[None], 3, 1, 1, count_include_pad=False)[0]
        marked: NDArray[np.uint8] = ((smooth > self._change) | doubt).numpy().astype(np.uint8) * np.uint8(OBJECT)
        return marked

    def _source(
        self, map: OutputMap, motion: MotionField | None, origin: tuple[int, int], moved_by: tuple[int, int]
    ) -> Tensor:
        """Where the content of each cell was: `(h, w, 2)` float32 (y, x) in cells."""
        shape = map.known.shape
        strides = [px / n for px, n in zip(self.size, shape, strict=True)]
        points = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
        displacement = np.broadcast_to(np.asarray(moved_by, np.int64), (*shape, 2))
        if motion is not None:
            # beside the image, on a canvas, the nearest cell's motion is as good as any
            where = [
                np.clip(((np.arange(n) + 0.5) * stride - at) // motion.cell_px, 0, most - 1).astype(np.int64)
                for n, stride, at, most in zip(shape, strides, origin, motion.valid.shape, strict=True)
            ]
            displacement = displacement + motion.displacement[np.ix_(*where)]
        shift = torch.from_numpy(displacement.astype(np.float32)) / torch.tensor(strides)
        return torch.stack(points, -1) - shift


def _same_kind(now: OutputMap, old: OutputMap) -> bool:
    alike = now.known.shape == old.known.shape and now.is_shares == old.is_shares
    return alike and (now.is_shares or len(now.values) == len(old.values))


def _seen(map: OutputMap, old: _Seen | None) -> _Seen:
    """A map with the range of its channels, no narrower than what is left of the last range."""
    if map.is_shares:
        return _Seen(map, torch.ones(len(map.values)))
    values = map.values[:, map.known]
    if not values.numel():
        return _Seen(map, torch.zeros(len(map.values)) if old is None else old.range)
    ordered = values[:, :: cells(values.shape[1], _SAMPLES)].sort(1).values
    beyond = int(_RANGE * ordered.shape[1])
    wide = ordered[:, -1 - beyond] - ordered[:, beyond]
    if not wide.all():  # the same nearly everywhere: then what few cells say is the range
        wide = torch.where(wide > 0, wide, values.amax(1) - values.amin(1))
    wide = torch.maximum(wide, _LEAST_RANGE * wide.max())
    return _Seen(map, wide if old is None else torch.maximum(wide, _FORGET * old.range))


def _changes(now: _Seen, old: _Seen, source: Tensor) -> Tensor:
    """How far each cell is from what was around its source: `(h, w)`, root mean square over channels."""
    values, before = now.map.values, old.map.values
    channels = max(len(values), len(before))  # classes that one of the two frames does not have
    values, before = (F.pad(one, (0, 0, 0, 0, 0, channels - len(one))) for one in (values, before))
    moved = _moved(before, source)
    beyond = torch.maximum(values - _largest_around(moved), -_largest_around(-moved) - values).clamp_min(0)
    if now.map.is_shares:
        return beyond.square().sum(0).sqrt()
    # a channel without a range is the same everywhere: there is nothing to measure by
    scaled = torch.where(now.range[:, None, None] > 0, beyond / now.range[:, None, None], 0)
    return scaled.square().mean(0).sqrt()


def _doubts(now: OutputMap, old: OutputMap, source: Tensor) -> Tensor:
    """Cells whose values are not finite, or were not around their source: `(h, w)` bool."""
    if now.known.all() and old.known.all():
        return ~now.known
    moved = _moved((~old.known)[None].float(), source)
    return ~now.known | (_largest_around(moved)[0] > 0)


def _moved(values: Tensor, source: Tensor) -> Tensor:
    """`(C, h, w)` values at their sources, between cells interpolated, beyond the border those of the border."""
    # sides are at least 2; grid_sample takes (x, y) with -1 and 1 on the first and the last cell
    last = torch.tensor([values.shape[2] - 1, values.shape[1] - 1])
    grid = source.flip(-1) * 2 / last - 1
    return F.grid_sample(values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True)[0]


def _largest_around(values: Tensor) -> Tensor:
    """Maximum of the 3 x 3 cells around each of `(C, h, w)`."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    rows = torch.maximum(torch.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])  # ten times max_pool2d's speed
    return torch.maximum(torch.maximum(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])


def _spread(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """`(h, w)` of a map for every 8-px cell."""
    return values if values.shape == shape else F.interpolate(values[None, None], shape, mode="nearest")[0, 0]
