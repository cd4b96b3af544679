"""An engine in front of another one, for whoever changes one of its ways."""

from __future__ import annotations

from torch import Tensor

from fluxshard.runtime.engines.engine import Engine, Inspection, StepControl, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.reuse.input_cache import InputCache, InputOptions


class ForwardingEngine:
    """See `Engine`; all that it does is what the inner one does. Derive from it.

    Args:
      inner: computes.
    """

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.plan, self.name, self.torch_device = inner.plan, inner.name, inner.torch_device

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        return self._inner.new_state(given=given)

    def new_input_cache(self, options: InputOptions) -> InputCache:
        """See `Engine.new_input_cache`."""
        return self._inner.new_input_cache(options)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        return self._inner.step(state, image, motion, control)

    def inspect(self, state: StreamState) -> Inspection:
        """See `Engine.inspect`."""
        return self._inner.inspect(state)
