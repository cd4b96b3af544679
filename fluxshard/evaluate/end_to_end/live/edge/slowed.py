"""An endpoint that is slower than this machine by a factor: it pauses after everything that it computes.

A pause is not slower silicon: caches, memory and other programs see the fast machine, and a frame costs no more energy.
The network's steps and the image tests are slowed; decoding and encoding of pictures, which edges have hardware for,
and what is made of a network's outputs are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import OptionError
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


def slowed(program: Program, factor: float) -> Program:
    """The same program on a slower endpoint; results are the same.

    Args:
      program: on this machine.
      factor: a computation lasts so many times the processor time that its thread took, or as long as it took where
        other programs have made that more; 1 leaves the program as it is.

    Raises:
      OptionError: a factor below 1.
    """
    if not factor >= 1:
        raise OptionError(f"slowdown (={factor:g}) must be at least 1")
    if factor == 1:
        return program

    def make_test(image: Grid, levels: Sequence[Level], grids: Sequence[Grid], options: PlannedOptions) -> ImageTest:
        return _SlowedTest(program.make_test(image, levels, grids, options), factor)

    return replace(program, engine=_SlowedEngine(program.engine, factor), make_test=make_test)


def _paused(factor: float, compute: Callable[[], T]) -> T:
    """Computes, and then sleeps until a machine that is slower by the factor would have been done."""
    started, busy = time.perf_counter(), time.thread_time()
    result = compute()
    left = factor * (time.thread_time() - busy) - (time.perf_counter() - started)
    if left > 0:
        time.sleep(left)
    return result


class _SlowedEngine(ForwardingEngine):
    """See `Engine`."""

    def __init__(self, inner: Engine, factor: float) -> None:
        super().__init__(inner)
        self._factor = factor

    def new_input_cache(self, options: InputOptions) -> InputCache:
        return _SlowedCache(super().new_input_cache(options), self._factor)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        return _paused(self._factor, lambda: self._inner.step(state, image, motion, control))


class _SlowedCache:
    """See `InputCache`."""

    def __init__(self, inner: InputCache, factor: float) -> None:
        self._inner, self._factor = inner, factor

    @property
    def n_bytes(self) -> int:
        return self._inner.n_bytes

    def propose(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | None) -> InputProposal:
        return _paused(self._factor, lambda: self._inner.propose(image, motion, keyframe=keyframe, given=given))

    def commit(self, proposal: InputProposal) -> None:
        _paused(self._factor, lambda: self._inner.commit(proposal))


class _SlowedTest:
    """See `ImageTest`."""

    def __init__(self, inner: ImageTest, factor: float) -> None:
        self._inner, self._factor = inner, factor

    def keyframe(self, image: Tensor) -> bool:
        return _paused(self._factor, lambda: self._inner.keyframe(image))

    def focus(self, regions: NDArray[np.uint8]) -> None:
        self._inner.focus(regions)

    def set_levels(self, levels: Sequence[Level]) -> None:
        self._inner.set_levels(levels)

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        return _paused(self._factor, lambda: self._inner.propose(image, motion))

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        return _paused(self._factor, lambda: self._inner.glance(image, motion))

    def commit(self, proposal: ShardProposal) -> None:
        _paused(self._factor, lambda: self._inner.commit(proposal))
