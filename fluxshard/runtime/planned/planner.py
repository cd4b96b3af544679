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
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.runtime.engines.engine import StepCounts
from fluxshard.runtime.level_motion import Motion, motion_of
from fluxshard.runtime.parking import Bytes, memory_of
from fluxshard.runtime.planned.levels import Level, levels_of
from fluxshard.runtime.planned.proposal import ShardProposal
from fluxshard.runtime.planned.shard_work import ShardWork
from fluxshard.runtime.reuse.displacement import displacement_field
from fluxshard.runtime.work_stats import WorkCounter

Mask = NDArray[np.bool_]


class ImageTest(Protocol):
    """Finds the shards to recompute, and what that takes; `ReferenceImageTest` defines what it computes."""

    def keyframe(self, image: Tensor) -> bool:
        """Takes an image that was computed whole; False where it is not finite."""
        ...

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the 8-px cells of the last frame hold."""
        ...

    def set_levels(self, levels: Sequence[Level]) -> None:
        """Takes the same levels with other thresholds and dilation, from the next proposal on."""
        ...

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        """Shards to recompute per level; None where the image is not finite. Nothing is changed until `commit`."""
        ...

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """The last mask of what `propose` would give, alone and so at a fraction of its cost; None as there.

        Nothing is changed, but the last proposal cannot be committed any more. `(0, 0)` without levels.
        """
        ...

    def commit(self, proposal: ShardProposal) -> None:
        """Takes the last proposal: the features of its shards stand for the new pixels from now on.

        Raises:
          StateError: it is not the last proposal, or a keyframe or regions came after it.
        """
        ...


# makes the test of a stream from the image's grid, the levels, the plan's grids and the thresholds
MakeTest = Callable[[Grid, Sequence[Level], Sequence[Grid], PlannedOptions], ImageTest]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFrame:
    """All work of a frame; `Planner.commit` accepts it.

    Attributes:
      work: cells to recompute per grid; None: everything, as a keyframe.
      counts: what the engine will count when it has done it.
      work_ratio: multiply-accumulates over those of the network as it runs, on the canvas where there is one.
      shards: recomputed shards per level, as the image test gave them; empty for a keyframe.
      proposal: of the image test; None for a keyframe.
      levels: number of levels of the plan.
    """

    work: dict[int, Mask] | None
    counts: StepCounts
    work_ratio: float
    shards: tuple[Mask, ...] = ()
    proposal: ShardProposal | None = None
    levels: int = 0

    @property
    def level_shares(self) -> tuple[float, ...]:
        """Share of the shards of each level that are recomputed, 0..1; all 1 for a keyframe."""
        if self.work is None:
            return (1.0,) * self.levels
        return tuple(float(np.count_nonzero(mask) / mask.size) for mask in self.shards)


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
        self._counting, self._macs = _Counting(plan), WorkCounter(plan)
        every = np.array([grid.cells for grid in plan.grids], np.int64)
        self._whole = self._counting.counts(every, lambda _: True, keyframe=True)
        self._work = ShardWork(plan, self.levels)

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the 8-px cells of the last frame hold: `(ceil(H / 8), ceil(W / 8))`."""
        self._test.focus(regions)

    def memory(self) -> tuple[Bytes, ...]:
        """See `WorkPolicy.memory`: what the image test keeps."""
        return memory_of(self._test)

    def set_thresholds(self, options: PlannedOptions) -> None:
        """Takes other thresholds, from the next frame on: options that differ in nothing else."""
        self.levels = levels_of(self._plan, options)
        self._test.set_levels(self.levels)

    def whole(self) -> PlannedFrame:
        """A frame that is computed whole."""
        return self._frame(None, self._whole, None)

    def plan(self, image: Tensor, motion: MotionField | None) -> PlannedFrame | None:
        """Plans one frame; a keyframe must have been committed first. Nothing is changed.

        Args:
          image: `(1, C, H, W)`.
          motion: since the frame committed last; None for zero.

        Returns:
          None where pixels are not finite: then the frame has to be computed whole.
        """
        proposal = self._test.propose(image, motion)
        if proposal is None:
            return None
        moved = proposal.motion or motion
        work = self._work(proposal.shards, moved)
        evaluated = np.zeros(len(self._plan.grids), np.int64)
        for index, mask in work.items():
            evaluated[index] = np.count_nonzero(mask)
        counts = self._counting.counts(evaluated, lambda layer: self._island_runs(layer, evaluated, moved))
        return self._frame(work, counts, proposal)

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """What `plan` would have recomputed of the coarsest level, without planning anything.

        Nothing is changed, but the last frame of `plan` cannot be committed any more.

        Args:
          image, motion: as for `plan`.

        Returns:
          `(ceil(H / shard), ceil(W / shard))` bool; None where pixels are not finite, or where the share of these
          shards alone is a cut.
        """
        shards = self._test.glance(image, motion)
        if shards is None or self.is_cut(np.count_nonzero(shards) / max(shards.size, 1)):
            return None
        return shards

    def commit(self, frame: PlannedFrame, image: Tensor) -> bool:
        """Takes a frame as computed.

        Args:
          frame: from `whole`, or the last one from `plan`.
          image: `(1, C, H, W)`, the frame's own.

        Returns:
          whether the next frame may reuse it: not where it was computed whole and a pixel is not finite.

        Raises:
          StateError: a planned frame that is not the last one, or regions were given after it.
        """
        if frame.proposal is None:
            return self._test.keyframe(image)
        self._test.commit(frame.proposal)
        return True

    def is_cut(self, work_ratio: float) -> bool:
        """Whether so much work is better done whole."""
        return work_ratio > self._scene_cut

    def _frame(self, work: dict[int, Mask] | None, counts: StepCounts, proposal: ShardProposal | None) -> PlannedFrame:
        ratio = self._macs(counts) / max(self._plan.macs, 1)
        shards = () if proposal is None else proposal.shards
        return PlannedFrame(
            work=work, counts=counts, work_ratio=ratio, shards=shards, proposal=proposal, levels=len(self.levels)
        )

    def _island_runs(self, layer: LayerSpec, evaluated: NDArray[np.int64], motion: Motion | None) -> bool:
        """The rule of the engines: something that an island reads changes or moves, or what it fills moves."""
        read = {self._plan.value(name).grid for name in layer.inputs}
        if any(index is not None and evaluated[index] for index in read):
            return True
        if motion is None:
            return False
        grids = read | {self._plan.value(name).grid for name in layer.outputs}
        fields = (
            displacement_field(motion_of(motion, i), self._plan.grids[i], self._plan.grids[0])
            for i in grids
            if i is not None
        )
        return any(not field.still for field in fields)


class _Counting:
    """Predicts the counts of an engine when the work of every grid is given."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # islands, and the views through which one may read what another fills
        self._followed = [
            (number, layer)
            for number, layer in enumerate(plan.layers)
            if isinstance(layer.params, Island)
            or (layer.mode == "view" and not isinstance(layer.params, UpsampleNearest))
        ]
        # sparse layers evaluate the cells of their output's grid; all others take what stands behind the last grid, 0
        self._grid_of = np.full(len(plan.layers), len(plan.grids), np.int64)
        for number, layer in enumerate(plan.layers):
            index = None if layer.mode == "view" or isinstance(layer.params, Island) else plan.value(layer.output).grid
            if index is not None:
                self._grid_of[number] = index

    def counts(
        self, evaluated: NDArray[np.int64], island_runs: Callable[[LayerSpec], bool], *, keyframe: bool = False
    ) -> StepCounts:
        """Counts from the cells evaluated per grid; views do nothing, islands all or nothing."""
        plan = self._plan
        candidates = np.append(evaluated, 0)[self._grid_of]
        changed: set[str] = set()  # what islands computed anew, all of it: islands that read it run as well
        for number, layer in self._followed:
            if layer.mode == "view":
                if not changed.isdisjoint(layer.inputs):
                    changed.update(layer.outputs)
                continue
            if changed.isdisjoint(layer.inputs) and not island_runs(layer):
                continue
            changed.update(layer.outputs)
            for name in layer.outputs:
                grid = plan.value(name).grid
                candidates[number] += 1 if grid is None else plan.grids[grid].cells
        return StepCounts(
            keyframe=keyframe, input_cells=int(evaluated[0]), candidates=candidates, executed=candidates > 0
        )
