"""Planned reuse: all work of a frame, decided from the image before the network runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.ir.params import Island, UpsampleNearest
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.motion import CELL_PX, MotionField
from fluxshard.options import PlannedOptions
from fluxshard.runtime.engine import StepCounts
from fluxshard.runtime.fields import grid_field
from fluxshard.runtime.levels import Level, levels_of, shard_of_cells

Mask = NDArray[np.bool_]


class ImageTest(Protocol):
    """Finds the shards to recompute, and keeps what that takes; `shards.ShardTest` defines what it computes."""

    def keyframe(self, image: Tensor) -> bool:
        """Takes an image that was computed whole; False where it is not finite."""
        ...

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the 8-px cells of the last frame hold."""
        ...

    def decide(self, image: Tensor, motion: MotionField | None) -> Sequence[Mask] | None:
        """Shards to recompute per level; None where the image is not finite."""
        ...


# makes the test of a stream from the image's grid, the levels, the plan's grids and the thresholds
MakeTest = Callable[[Grid, Sequence[Level], Sequence[Grid], PlannedOptions], ImageTest]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFrame:
    """What a frame will do.

    Attributes:
      work: cells to recompute per grid; None: everything, as a keyframe.
      counts: what the engine will count when it has done it.
      shards: recomputed shards per level, as the image test gave them.
    """

    work: dict[int, Mask] | None
    counts: StepCounts
    shards: tuple[Mask, ...]


class Planner:
    """Plans the frames of one stream.

    Args:
      plan: of the network.
      options: thresholds.
      scene_cut: share of the network's work above which a frame is run whole.
      make_test: makes the image test.
    """

    def __init__(self, plan: Plan, options: PlannedOptions, scene_cut: float, make_test: MakeTest) -> None:
        self._plan = plan
        self._scene_cut = scene_cut
        self.levels = levels_of(plan, options)
        self._test = make_test(plan.grids[0], self.levels, plan.grids, options)
        self._whole = _counts(plan, {index: grid.cells for index, grid in enumerate(plan.grids)}, lambda _: True, True)
        self._shard_of = {
            grid: _shards_of_grid(plan, plan.grids[grid], level) for level in self.levels for grid in level.grids
        }
        # a level is tested at the motion of its first grid
        self._regular = frozenset(
            index
            for level in self.levels
            for index in level.grids
            if all(_is_regular(plan.grids[i], plan.grids[0]) for i in (index, level.grids[0]))
        )
        self._pixels = {
            level: tuple(np.arange(px) // level.shard_px for px in plan.image_size) for level in self.levels
        }

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the 8-px cells of the last frame hold: `(ceil(H / 8), ceil(W / 8))`."""
        self._test.focus(regions)

    def whole(self, image: Tensor) -> tuple[PlannedFrame, bool]:
        """A frame that is computed whole, and whether the next one may reuse it: not where a pixel is not finite."""
        finite = self._test.keyframe(image)
        return PlannedFrame(work=None, counts=self._whole, shards=()), finite

    def plan(self, image: Tensor, motion: MotionField | None) -> PlannedFrame | None:
        """What to recompute of a frame; there was one before it. From then on the frame counts as computed.

        Args:
          image: `(1, C, H, W)`.
          motion: since the frame before; None for zero.

        Returns:
          None where pixels are not finite: then it has to be computed whole.
        """
        decided = self._test.decide(image, motion)
        if decided is None:
            return None
        shards = tuple(decided)
        work: dict[int, Mask] = {}
        for level, mask in zip(self.levels, shards, strict=True):
            for index in level.grids:
                rows, columns = self._shard_of[index]
                work[index] = mask[rows[:, None], columns[None, :]]
        work[0] = self._image_mask(shards) | work.get(0, np.zeros((), np.bool_))
        for index, mask in work.items():
            if index not in self._regular or (motion is not None and motion.cell_px % CELL_PX):
                work[index] = mask | self._without_source(index, motion)
        evaluated = {index: int(np.count_nonzero(mask)) for index, mask in work.items()}
        counts = _counts(self._plan, evaluated, lambda layer: self._island_runs(layer, work, motion), False)
        return PlannedFrame(work=work, counts=counts, shards=shards)

    def is_cut(self, share: float) -> bool:
        """Whether so much work, as a share of the network's, is better done whole."""
        return share > self._scene_cut

    def _image_mask(self, shards: Sequence[Mask]) -> Mask:
        """Pixels that any level recomputes."""
        total = np.zeros(self._plan.image_size, np.bool_)
        for level, mask in zip(self.levels, shards, strict=True):
            rows, columns = self._pixels[level]
            total |= mask[rows[:, None], columns[None, :]]
        return total

    def _without_source(self, index: int, motion: MotionField | None) -> Mask:
        """Cells of a grid that nothing moves to."""
        if index or motion is None:
            return ~grid_field(motion, self._plan.grids[index], self._plan.grids[0]).valid
        # the same for the image, axis by axis: a field of all its pixels takes as long as the test itself
        height, width = self._plan.image_size
        rows, columns = np.arange(height), np.arange(width)
        y = rows[:, None] - motion.displacement[rows // motion.cell_px, :, 0]
        x = columns[None, :] - motion.displacement[:, columns // motion.cell_px, 1]
        inside_y = (y >= 0) & (y < height) & motion.valid[rows // motion.cell_px]
        inside_x = (x >= 0) & (x < width)
        outside: Mask = ~(inside_y[:, columns // motion.cell_px] & inside_x[rows // motion.cell_px])
        return outside

    def _island_runs(self, layer: LayerSpec, work: dict[int, Mask], motion: MotionField | None) -> bool:
        """The rule of the engines: something that an island reads changes or moves, or what it fills moves."""
        grids = {self._plan.value(name).grid for name in (*layer.inputs, *layer.outputs)}
        read = {self._plan.value(name).grid for name in layer.inputs}
        if any(index is not None and work[index].any() for index in read):
            return True
        if motion is None:
            return False
        fields = (grid_field(motion, self._plan.grids[i], self._plan.grids[0]) for i in grids if i is not None)
        return any(not field.still for field in fields)


def _counts(
    plan: Plan, evaluated: dict[int, int], island_runs: Callable[[LayerSpec], bool], keyframe: bool
) -> StepCounts:
    candidates = np.zeros(len(plan.layers), np.int64)
    changed: set[str] = set()  # what islands computed anew, all of it: islands that read it run as well
    for number, layer in enumerate(plan.layers):
        if layer.mode == "view":
            if changed.intersection(layer.inputs) and not isinstance(layer.params, UpsampleNearest):
                changed.update(layer.outputs)
            continue
        if isinstance(layer.params, Island):
            if not (island_runs(layer) or changed.intersection(layer.inputs)):
                continue
            changed.update(layer.outputs)
            for name in layer.outputs:
                grid = plan.value(name).grid
                candidates[number] += 1 if grid is None else plan.grids[grid].cells
        else:
            index = plan.value(layer.output).grid
            assert index is not None
            candidates[number] = evaluated[index]
    return StepCounts(keyframe=keyframe, input_cells=evaluated[0], candidates=candidates, executed=candidates > 0)


def _shards_of_grid(plan: Plan, grid: Grid, level: Level) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    height, width = plan.image_size
    return (
        shard_of_cells(grid.height, grid.stride_y, height, level.shard_px),
        shard_of_cells(grid.width, grid.stride_x, width, level.shard_px),
    )


def _is_regular(grid: Grid, image: Grid) -> bool:
    """Whether a cell without a source always lies in a shard without one.

    So it is where cells are whole pixels, fill the image, and fit the 8-px cells that motion is looked up for.
    """
    strides = (grid.stride_y, grid.stride_x)
    sizes = ((grid.height, image.height), (grid.width, image.width))
    return all(
        stride.denominator == 1 and (8 % stride == 0 or stride % 8 == 0) and n_cells * stride == n_px
        for stride, (n_cells, n_px) in zip(strides, sizes, strict=True)
    )
