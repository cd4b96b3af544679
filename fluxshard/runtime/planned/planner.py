"""Planned reuse: all work of a frame, decided from the image before the network runs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.ir.params import Island, UpsampleNearest
from fluxshard.ir.plan import Plan
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.runtime.engines.engine import StepCounts
from fluxshard.runtime.parking import Bytes, memory_of
from fluxshard.runtime.planned.levels import Level, levels_of
from fluxshard.runtime.planned.proposal import GridWork, ShardProposal
from fluxshard.runtime.planned.shard_work import ShardWork
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


@runtime_checkable
class CountsMemory(Protocol):
    """An image test whose memory is elsewhere: it cannot be packed away here."""

    @property
    def n_bytes(self) -> int:
        """Memory that it keeps between frames."""
        ...


# makes the test of a stream from the image's grid, the levels, the plan's grids and the thresholds
MakeTest = Callable[[Grid, Sequence[Level], Sequence[Grid], PlannedOptions], ImageTest]


class PlannedFrame:
    """All work of a frame; `Planner.commit` accepts it.

    Args:
      counts: as the attribute, or what makes them when they are first asked for.

    Attributes:
      work: cells to recompute per grid; None: everything, as a keyframe.
      counts: what the engine will count when it has done it.
      work_ratio: multiply-accumulates over those of the network as it runs, on the canvas where there is one.
      shards: recomputed shards per level, as the image test gave them; empty for a keyframe.
      proposal: of the image test; None for a keyframe.
      levels: number of levels of the plan.
    """

    __slots__ = ("_counts", "levels", "proposal", "shards", "work", "work_ratio")

    def __init__(
        self,
        *,
        work: Mapping[int, Mask] | None,
        counts: StepCounts | Callable[[], StepCounts],
        work_ratio: float,
        shards: tuple[Mask, ...] = (),
        proposal: ShardProposal | None = None,
        levels: int = 0,
    ) -> None:
        self.work = work
        self._counts = counts
        self.work_ratio = work_ratio
        self.shards = shards
        self.proposal = proposal
        self.levels = levels

    def __repr__(self) -> str:
        return f"PlannedFrame({'everything' if self.work is None else f'{self.work_ratio:.1%} of the work'})"

    @property
    def counts(self) -> StepCounts:
        """See the class."""
        if not isinstance(self._counts, StepCounts):
            self._counts = self._counts()
        return self._counts

    @property
    def coarsest(self) -> Mask | None:
        """The last of `shards`; `(0, 0)` without levels, None for a keyframe."""
        if self.work is None:
            return None
        return self.shards[-1] if self.shards else np.zeros((0, 0), np.bool_)

    @property
    def level_shares(self) -> tuple[float, ...]:
        """Share of the shards of each level that are recomputed, 0..1; all 1 for a keyframe."""
        if self.work is None:
            return (1.0,) * self.levels
        return tuple(float(np.count_nonzero(mask) / mask.size) for mask in self.shards)


_FEW_KNOWN = 0.5  # of a frame's motion: the codec took the frame before for another scene
_NEW_SHARE = 0.5  # of `scene_cut`, where it did


class Planner:
    """Plans the frames of one stream.

    Args:
      plan: of the network.
      options: thresholds.
      scene_cut: share of the network's work above which a frame is run whole; see `is_cut`.
      make_test: makes the image test.
    """

    def __init__(self, plan: Plan, options: PlannedOptions, scene_cut: float, make_test: MakeTest) -> None:
        self._plan = plan
        self._scene_cut = scene_cut
        self.levels = levels_of(plan, options)
        self._test = make_test(plan.grids[0], self.levels, plan.grids, options)
        self._counting = _Counting(plan)
        every = np.array([grid.cells for grid in plan.grids], np.int64)
        everything = GridWork({}, every, lambda _: True)
        counts = self._counting.counts(everything, self._counting.wakes(everything), keyframe=True)
        ratio = WorkCounter(plan)(counts) / max(plan.macs, 1)
        self._whole = PlannedFrame(work=None, counts=counts, work_ratio=ratio, levels=len(self.levels))
        self._work = ShardWork(plan, self.levels)

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the 8-px cells of the last frame hold: `(ceil(H / 8), ceil(W / 8))`."""
        self._test.focus(regions)

    def memory(self) -> tuple[Bytes, ...]:
        """See `WorkPolicy.memory`: what the image test keeps."""
        return memory_of(self._test)

    @property
    def n_bytes(self) -> int:
        """Memory that the image test keeps between frames; 0 for one that does not say."""
        if isinstance(self._test, CountsMemory):
            return self._test.n_bytes
        return sum(block.nbytes for block in self.memory())

    def set_thresholds(self, options: PlannedOptions) -> None:
        """Takes other thresholds, from the next frame on: options that differ in nothing else."""
        self.levels = levels_of(self._plan, options)
        self._test.set_levels(self.levels)

    def whole(self) -> PlannedFrame:
        """A frame that is computed whole."""
        return self._whole

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
        work = proposal.work or self._work.planned(proposal.shards, proposal.motion or motion)
        wakes = self._counting.wakes(work)
        return PlannedFrame(
            work=work.masks,
            counts=lambda: self._counting.counts(work, wakes),
            work_ratio=self._counting.macs(work, wakes) / max(self._plan.macs, 1),
            shards=proposal.shards,
            proposal=proposal,
            levels=len(self.levels),
        )

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
        if shards is None or self.is_cut(np.count_nonzero(shards) / max(shards.size, 1), motion):
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

    def is_cut(self, work_ratio: float, motion: MotionField | None = None) -> bool:
        """Whether so much work is better done whole.

        Scenes look alike in places, so after a cut a third of the work may be left to features of the old scene. But
        most blocks were not found in the frame before: then half as much work as otherwise is a cut.

        Args:
          work_ratio: of the network's work.
          motion: since the frame committed last; None where nobody looked for any.
        """
        if self._scene_cut == 1.0 or work_ratio <= _NEW_SHARE * self._scene_cut:
            return False  # as most frames are: nobody looks at their motion
        return work_ratio > self._scene_cut or (motion is not None and float(motion.valid.mean()) < _FEW_KNOWN)


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
        # grids that each island reads, and that it reads or fills
        self._islands: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
            (self._grids(layer.inputs), self._grids((*layer.inputs, *layer.outputs)))
            for _, layer in self._followed
            if isinstance(layer.params, Island)
        ]
        # sparse layers evaluate the cells of their output's grid; what is added for islands depends on which ones wake
        self._grid_of = np.zeros(len(plan.layers), np.int64)
        self._is_sparse = np.zeros(len(plan.layers), np.int64)
        for number, layer in enumerate(plan.layers):
            index = None if layer.mode == "view" or isinstance(layer.params, Island) else plan.value(layer.output).grid
            if index is not None:
                self._grid_of[number], self._is_sparse[number] = index, 1
        self._of_islands: dict[tuple[bool, ...], tuple[NDArray[np.int64], float]] = {}  # and multiply-accumulates
        per_cell = [
            layer.macs / plan.grid_of(layer.output).cells if layer.mode == "sparse" else 0 for layer in plan.layers
        ]
        self._macs_of_grids = [
            math.fsum(macs for macs, index in zip(per_cell, self._grid_of.tolist(), strict=True) if index == number)
            for number in range(len(plan.grids))
        ]

    def wakes(self, work: GridWork) -> tuple[bool, ...]:
        """Whether each island runs for its own: the rule of the engines.

        Something that it reads changes or moves, or what it fills moves.
        """
        done = work.evaluated.tolist()
        return tuple(
            [any(done[grid] for grid in read) or any(map(work.moves, touched)) for read, touched in self._islands]
        )

    def macs(self, work: GridWork, wakes: tuple[bool, ...]) -> float:
        """Multiply-accumulates."""
        return float(self._of(wakes)[1] + sum(map(operator.mul, work.evaluated.tolist(), self._macs_of_grids)))

    def counts(self, work: GridWork, wakes: tuple[bool, ...], *, keyframe: bool = False) -> StepCounts:
        """Counts; views do nothing, islands all or nothing."""
        candidates = work.evaluated[self._grid_of] * self._is_sparse + self._of(wakes)[0]
        return StepCounts(
            keyframe=keyframe, input_cells=int(work.evaluated[0]), candidates=candidates, executed=candidates > 0
        )

    def _of(self, wakes: tuple[bool, ...]) -> tuple[NDArray[np.int64], float]:
        """What islands add, worked out once for the same ones."""
        found = self._of_islands.get(wakes)
        if found is None:
            found = self._of_islands[wakes] = self._added(wakes)
        return found

    def _added(self, wakes: tuple[bool, ...]) -> tuple[NDArray[np.int64], float]:
        """Cells that islands fill, per layer, and the multiply-accumulates of that.

        Islands run that wake, and those that read what another has computed anew.
        """
        plan, awake = self._plan, iter(wakes)
        added = np.zeros(len(plan.layers), np.int64)
        changed: set[str] = set()  # all of it: islands that read it run as well
        for number, layer in self._followed:
            if layer.mode == "view":
                if not changed.isdisjoint(layer.inputs):
                    changed.update(layer.outputs)
                continue
            if not next(awake) and changed.isdisjoint(layer.inputs):
                continue
            changed.update(layer.outputs)
            for name in layer.outputs:
                grid = plan.value(name).grid
                added[number] += 1 if grid is None else plan.grids[grid].cells
        return added, float(sum(layer.macs for layer, n in zip(plan.layers, added, strict=True) if n))

    def _grids(self, names: Sequence[str]) -> tuple[int, ...]:
        found = {self._plan.value(name).grid for name in names}
        return tuple(sorted(index for index in found if index is not None))
