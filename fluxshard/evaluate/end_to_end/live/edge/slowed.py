"""An endpoint that is slower than this machine by a factor: it pauses after everything that it computes.

A pause is not slower silicon: caches, memory and other programs see the fast machine, and a frame costs no more energy.
The network's steps and the image tests are slowed; decoding and encoding of pictures, which edges have hardware for,
and what is made of a network's outputs are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import OptionError
from fluxshard.evaluate.end_to_end.live.edge.busy import BusyTime
from fluxshard.geometry import Grid
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.runtime.endpoints.forwarding_engine import ForwardingEngine
from fluxshard.runtime.engines.engine import Engine, Mask, StepControl, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.planned.levels import Level
from fluxshard.runtime.planned.planner import ImageTest
from fluxshard.runtime.planned.proposal import ShardProposal
from fluxshard.runtime.reuse.input_cache import InputCache, InputOptions, InputProposal
from fluxshard.runtime.stream import Program

T = TypeVar("T")


def slowed(program: Program, factor: float, busy: BusyTime) -> Program:
    """The same program on a slower endpoint; results are the same.

    Args:
      program: on this machine.
      factor: a computation lasts so many times the processor time that its thread took, or as long as it took where
        other programs have made that more; 1 makes no pauses.
      busy: is told how long everything computed takes, with its pause.

    Raises:
      OptionError: a factor below 1.
    """
    if not factor >= 1:
        raise OptionError(f"slowdown (={factor:g}) must be at least 1")
    pace = _Pace(factor, busy)

    def make_test(image: Grid, levels: Sequence[Level], grids: Sequence[Grid], options: PlannedOptions) -> ImageTest:
        return _SlowedTest(program.make_test(image, levels, grids, options), pace)

    return replace(program, engine=_SlowedEngine(program.engine, pace), make_test=make_test)


@dataclass(frozen=True, slots=True, eq=False)
class _Pace:
    """How fast an endpoint is.

    Attributes:
      factor: by which it is slower than this machine.
      busy: is told how long everything takes.
    """

    factor: float
    busy: BusyTime

    def run(self, compute: Callable[[], T]) -> T:
        """Computes, and then sleeps until a machine that is slower by the factor would have been done."""
        started, used = time.perf_counter(), time.thread_time()
        result = compute()
        due = self.factor * (time.thread_time() - used)
        passed = time.perf_counter() - started
        if due > passed:
            time.sleep(due - passed)
        self.busy.add(1e3 * max(due, passed))
        return result


class _SlowedEngine(ForwardingEngine):
    """See `Engine`."""

    def __init__(self, inner: Engine, pace: _Pace) -> None:
        super().__init__(inner)
        self._pace = pace

    def new_input_cache(self, options: InputOptions) -> InputCache:
        return _SlowedCache(super().new_input_cache(options), self._pace)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        return self._pace.run(lambda: self._inner.step(state, image, motion, control))


class _SlowedCache:
    """See `InputCache`."""

    def __init__(self, inner: InputCache, pace: _Pace) -> None:
        self._inner, self._pace = inner, pace

    @property
    def n_bytes(self) -> int:
        return self._inner.n_bytes

    def propose(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | None) -> InputProposal:
        return self._pace.run(lambda: self._inner.propose(image, motion, keyframe=keyframe, given=given))

    def commit(self, proposal: InputProposal) -> None:
        self._pace.run(lambda: self._inner.commit(proposal))


class _SlowedTest:
    """See `ImageTest`."""

    def __init__(self, inner: ImageTest, pace: _Pace) -> None:
        self._inner, self._pace = inner, pace

    def keyframe(self, image: Tensor) -> bool:
        return self._pace.run(lambda: self._inner.keyframe(image))

    def focus(self, regions: NDArray[np.uint8]) -> None:
        self._inner.focus(regions)

    def set_levels(self, levels: Sequence[Level]) -> None:
        self._inner.set_levels(levels)

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        return self._pace.run(lambda: self._inner.propose(image, motion))

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        return self._pace.run(lambda: self._inner.glance(image, motion))

    def commit(self, proposal: ShardProposal) -> None:
        self._pace.run(lambda: self._inner.commit(proposal))
