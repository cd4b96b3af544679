"""A model whose frames take a known time, and a meter that counts a known energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import fluxshard
from fluxshard.motion import MotionField
from fluxshard.runtime.engines.engine import StepControl, StepResult, StreamState
from fluxshard.runtime.session import Session
from fluxshard.testing import FakeEngine
from fluxshard.testing.fake_engine import MEAN
from fluxshard.testing.moving_frames import frames

SIZE = (48, 64)
CELLS = SIZE[0] * SIZE[1] // 64
BASE_MS, WORK_MS = 200.0, 2000.0  # so much that the fake engine's own time does not count


class TimedEngine(FakeEngine):
    """Says that it takes `BASE_MS`, and `WORK_MS` times the share of cells that it evaluates."""

    def __init__(self) -> None:
        super().__init__(SIZE)
        self.last_ms = 0.0

    def step(self, state: StreamState, image: Tensor, motion: MotionField | None, control: StepControl) -> StepResult:
        """See `FakeEngine.step`."""
        result = super().step(state, image, motion, control)
        counts = result.counts()
        self.last_ms = BASE_MS + WORK_MS * float(counts.candidates.sum()) / CELLS
        timed = replace(counts, total_ms=self.last_ms)
        return replace(result, counts=lambda: timed)


@dataclass
class TimedModel:
    """The part of a `CompiledModel` that is profiled; counts its sessions."""

    engine: TimedEngine = field(default_factory=TimedEngine)
    reuse: list[fluxshard.ReuseOptions] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    backend: str = "fake"
    dtype: str = "float32"

    @property
    def plan(self) -> Any:
        """See `CompiledModel.plan`."""
        return self.engine.plan

    @property
    def weights(self) -> dict[str, Tensor]:
        """See `CompiledModel.weights`."""
        return {f"{MEAN}.weight": torch.full((3, 1, 8, 8), 1 / 64)}

    def session(self, reuse: fluxshard.ReuseOptions | None = None) -> Session:
        """See `CompiledModel.session`."""
        self.reuse.append(reuse or fluxshard.ReuseOptions())
        self.sessions.append(self.engine.session(reuse))
        return self.sessions[-1]


@dataclass
class FakeMeter:
    """Counts a watt for as long as the engine says it took; None at the reads whose numbers are given."""

    engine: TimedEngine
    fails: tuple[int, ...] = ()
    name: str = "fake meter"
    period_ms: float = 1.0
    reads: int = 0
    total_mj: float = 0.0

    def read_mj(self) -> float | None:
        """Every second read comes after a frame."""
        number, self.reads = self.reads, self.reads + 1
        if number % 2:
            self.total_mj += self.engine.last_ms
        return None if number in self.fails else self.total_mj

    def close(self) -> None:
        """Nothing is open."""


def clip(kind: str = "blocks", n: int = 40) -> Iterator[tuple[Tensor, MotionField | None]]:
    """Pictures of which a different part changes in every frame."""
    return frames(kind, SIZE, n, seed=4)
