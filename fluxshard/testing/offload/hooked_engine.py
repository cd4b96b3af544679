"""An engine that does something before every frame: waits, fails, or counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.runtime.engines.engine import Engine, Inspection, StepControl, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.reuse.input_cache import InputCache, InputOptions


class HookedEngine:
    """See `Engine`; what it computes is what the inner one computes.

    Args:
      inner: computes.
      before: called before every frame, with the number of frames before it, of all streams. It may raise.
    """

    def __init__(self, inner: Engine, before: Callable[[int], None]) -> None:
        self._inner, self._before = inner, before
        self.plan, self.name, self.torch_device = inner.plan, inner.name, inner.torch_device
        self.frames = 0
        """That were begun."""

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        return self._inner.new_state(given=given)

    def new_input_cache(self, options: InputOptions) -> InputCache:
        """See `Engine.new_input_cache`."""
        return self._inner.new_input_cache(options)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        self.frames += 1
        self._before(self.frames - 1)
        return self._inner.step(state, image, motion, control)

    def inspect(self, state: StreamState) -> Inspection:
        """See `Engine.inspect`."""
        return self._inner.inspect(state)


def hooked(model: LocalModel, before: Callable[[int], None]) -> LocalModel:
    """The same model on a `HookedEngine`."""
    engine = HookedEngine(model.program.engine, before)
    return replace(model, program=replace(model.program, engine=engine))
