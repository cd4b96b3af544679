"""An engine that does something before every frame: waits, fails, or counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.runtime.endpoints.forwarding_engine import ForwardingEngine
from fluxshard.runtime.engines.engine import Engine, StepControl, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion


class HookedEngine(ForwardingEngine):
    """See `Engine`; what it computes is what the inner one computes.

    Args:
      inner: computes.
      before: called before every frame, with the number of frames before it, of all streams. It may raise.
    """

    def __init__(self, inner: Engine, before: Callable[[int], None]) -> None:
        super().__init__(inner)
        self._before = before
        self.frames = 0
        """That were begun."""

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        self.frames += 1
        self._before(self.frames - 1)
        return super().step(state, image, motion, control)


def hooked(model: LocalModel, before: Callable[[int], None]) -> LocalModel:
    """The same model on a `HookedEngine`."""
    engine = HookedEngine(model.program.engine, before)
    return replace(model, program=replace(model.program, engine=engine))
