"""A slowed endpoint: the same results, after pauses that follow from the processor time of what was computed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

import fluxshard.evaluate.end_to_end.live.edge.slowed as slowed_module
from fluxshard.errors import OptionError
from fluxshard.evaluate.end_to_end.live.edge.busy import BusyTime
from fluxshard.evaluate.end_to_end.live.edge.slowed import slowed
from fluxshard.options import ReuseOptions
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine
from fluxshard.testing.fake_engine import EngineCall

SIZE = (32, 48)


class Clock:
    """Of a machine on which everything computed takes 10 ms of the processor, and 15 ms until it is done."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._asked = 0

    def perf_counter(self) -> float:
        return 0.0075 * self._asked

    def thread_time(self) -> float:
        self._asked += 1
        return 0.010 * self._asked

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(slowed_module, "time", clock)
    yield clock


def program_of(engine: FakeEngine) -> Program:
    return Program(engine, lambda leaves: leaves[0])


def run(program: Program, reuse: ReuseOptions, frames: int = 3) -> list[torch.Tensor]:
    with Session(lambda _: program, reuse) as session:
        return [
            session.run(torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed)))
            for seed in range(frames)
        ]


@pytest.mark.parametrize("policy", ["planned", "propagated"])
def test_results_are_the_same_and_everything_computed_is_followed_by_a_pause(clock: Clock, policy: str) -> None:
    reuse = ReuseOptions(policy=policy, scene_cut=1.0)  # type: ignore[arg-type]
    plain, slow = FakeEngine(SIZE), FakeEngine(SIZE)
    expected = run(program_of(plain), reuse)
    assert clock.slept == []
    busy = BusyTime()
    found = run(slowed(program_of(slow), 16, busy), reuse)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    assert [kept(one) for one in slow.calls] == [kept(one) for one in plain.calls]
    # network, test and its commit of three frames: planned reuse tests no keyframe, propagated reuse every frame
    assert len(clock.slept) == (8 if policy == "planned" else 9)
    # 10 ms of the processor's time last 160 ms, of which 15 ms have passed
    assert clock.slept == pytest.approx([0.145] * len(clock.slept))
    assert busy.total_ms == pytest.approx(160 * len(clock.slept))


def kept(call: EngineCall) -> tuple[bool, object]:
    return call.control.keyframe, None if call.control.work is None else sorted(call.control.work)


def test_what_other_programs_have_slowed_more_is_not_paused(clock: Clock) -> None:
    for factor in (1.25, 1):
        busy = BusyTime()
        run(slowed(program_of(FakeEngine(SIZE)), factor, busy), ReuseOptions(policy="planned"))
        assert clock.slept == []  # 12.5 ms would be due, and 15 ms have passed
        assert busy.total_ms == pytest.approx(8 * 15)


def test_factors() -> None:
    program = program_of(FakeEngine(SIZE))
    for factor in (0.5, float("nan")):
        with pytest.raises(OptionError, match="at least 1"):
            slowed(program, factor, BusyTime())


def test_a_pause_takes_time_and_no_processor() -> None:
    before, used = time.perf_counter(), time.thread_time()
    slowed_module._Pace(20, BusyTime()).run(lambda: compute(0.004))
    assert time.perf_counter() - before >= 20 * 0.004
    assert time.thread_time() - used < 10 * 0.004


def compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
