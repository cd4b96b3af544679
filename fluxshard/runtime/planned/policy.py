"""Planned reuse as a policy: the image test and the planner decide all work of a frame before the network runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError
from fluxshard.ir.plan import Plan
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.engines.engine import Mask, StepControl
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.parking import Bytes, memory_of
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.planned.planner import MakeTest, PlannedFrame, Planner
from fluxshard.runtime.reuse.input_cache import InputCache, InputOptions, MakeInputCache
from fluxshard.runtime.reuse.policy import Proposal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedProposal(Proposal):
    """See `Proposal`.

    Attributes:
      frame: all work of the frame.
    """

    frame: PlannedFrame

    __repr__ = Proposal.__repr__

    @property
    def input_cells(self) -> int:
        """See `Proposal.input_cells`."""
        return self.frame.counts.input_cells

    @property
    def predicted_work(self) -> float:
        """See `Proposal.predicted_work`."""
        return self.frame.work_ratio


class PlannedPolicy:
    """See `WorkPolicy`.

    The network reads the whole new frame, so there is nothing to keep of the image but what the test keeps; with
    `input="assembled"` an input cache keeps what an offloading endpoint would have been sent.

    Args:
      plan: of the network.
      reuse: thresholds.
      make_test: makes the image test.
      make_cache: makes the input cache.
    """

    def __init__(self, plan: Plan, reuse: ReuseOptions, make_test: MakeTest, make_cache: MakeInputCache) -> None:
        self._plan = plan
        self._reuse = reuse
        self._make_test = make_test
        self._planner = self._new_planner()
        options = InputOptions(tau=0.0, scene_cut=1.0, mode="assembled", remap=True)
        self._cache: InputCache | None = None
        if reuse.input_mode == "assembled":
            self._cache = make_cache(options)
        # given work is compared with nothing; values off the grids count as changed whenever they are computed
        self._tau = (-1.0,) * len(plan.layers)
        self._pixels = PixelValues(*reuse.planned.pixel_range)
        self._fresh = True  # the next frame must be a keyframe

    @property
    def n_bytes(self) -> int:
        """See `WorkPolicy.n_bytes`; of an image test that does not say what it holds, nothing is counted."""
        return self._planner.n_bytes + (0 if self._cache is None else self._cache.n_bytes)

    def memory(self) -> tuple[Bytes, ...]:
        """See `WorkPolicy.memory`."""
        return (*self._planner.memory(), *memory_of(self._cache))

    @property
    def is_fresh(self) -> bool:
        """See `WorkPolicy.is_fresh`."""
        return self._fresh

    def propose(self, image: Tensor, motion: MotionField | None) -> Proposal:
        """See `WorkPolicy.propose`."""
        motion = None if self._fresh else motion
        frame = None if self._fresh else self._planner.plan(image, motion)
        if frame is None or self._planner.is_cut(frame.work_ratio, motion):  # None: pixels that are not finite
            frame = self._planner.whole()
        moves = motion if frame.proposal is None else frame.proposal.motion or motion
        control = self._control(image, moves, frame.work)
        return PlannedProposal(
            image=image, motion=moves, control=control, grid_cells=self._plan.grids[0].cells, frame=frame
        )

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """See `Planner.glance`; None also where the next frame is a keyframe anyway."""
        return None if self._fresh else self._planner.glance(image, motion)

    def propose_given(self, image: Tensor, motion: MotionField | None, work: Mapping[int, Mask]) -> Proposal:
        """See `WorkPolicy.propose_given`. The test does not know what such a frame's features stand for.

        Raises:
          ShapeError: a grid with features, or the image's, is left out: planned reuse compares no values.
        """
        missing = sorted({0, *(grid for level in self._planner.levels for grid in level.grids)} - set(work))
        if missing:
            raise ShapeError(f"work has no cells for grids {missing}: with planned reuse, give those of every grid")
        motion = None if self._fresh else motion
        control = self._control(image, motion, None if self._fresh else dict(work))
        return Proposal(image=image, motion=motion, control=control, grid_cells=self._plan.grids[0].cells)

    def commit(self, proposal: Proposal) -> None:
        """See `WorkPolicy.commit`."""
        if proposal.control.input is not None:
            assert self._cache is not None
            self._cache.commit(proposal.control.input)
        known = isinstance(proposal, PlannedProposal) and self._planner.commit(proposal.frame, proposal.image)
        self._fresh = not known

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """See `WorkPolicy.focus`."""
        self._planner.focus(regions)

    def set_thresholds(self, planned: PlannedOptions) -> None:
        """Takes other thresholds, from the next frame on: options that differ in nothing else."""
        self._reuse = replace(self._reuse, planned=planned)
        self._planner.set_thresholds(planned)

    def reset(self) -> None:
        """See `WorkPolicy.reset`."""
        self._fresh = True
        self._planner = self._new_planner()

    def _new_planner(self) -> Planner:
        return Planner(self._plan, self._reuse.planned, self._reuse.scene_cut, self._make_test)

    def _control(self, image: Tensor, motion: Motion | None, work: Mapping[int, Mask] | None) -> StepControl:
        keyframe, given = work is None, None
        if self._cache is not None:
            floats = self._pixels.floats(image)
            given = self._cache.propose(floats, motion, keyframe=keyframe, given=None if work is None else work.get(0))
        return StepControl(
            keyframe=keyframe, rfap=self._reuse.rfap, remap=True, tau=self._tau, work=work, input=given,
            pixels=self._pixels,
        )  # fmt: skip
