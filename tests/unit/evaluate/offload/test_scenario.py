"""Curves, ticks, and which frame is next."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.scenario import LinearCurve, profiled_curve
from fluxshard.runtime.offload.latency_model import LatencyModel
from tests.unit.evaluate.offload.small_scenarios import scenario


def test_a_curve_takes_the_share_of_work() -> None:
    assert LinearCurve(100, 300)((0.5,)) == 250
    assert LinearCurve(100, 300)((0.5, 0.9)) == 250


def test_a_measured_curve() -> None:
    model = LatencyModel(base_ms=1.0, slopes_ms=(10.0,), knots=((0.0, 1.0), (1.0, 1.0)), error=0.0, samples=8)
    profile: Any = SimpleNamespace(model=model)
    assert profiled_curve(profile)((0.5,)) == model.predict_ms((0.5,))


def test_the_newest_captured_frame_is_next() -> None:
    """30 frames a second: an answer after 100 ms finds frame 3; one after 10 ms waits for frame 1."""
    video = scenario(period_ms=1000 / 30, ticks=10, frames=30)
    assert video.tick_ms == pytest.approx(10 / 3)
    assert video.next_start(0, 0, 100.0) == (30, 3)
    assert video.next_start(0, 0, 110.0) == (33, 3)
    assert video.next_start(0, 0, 10.0) == (10, 1)
    assert video.next_start(30, 3, 0.0) == (40, 4)


@given(start=st.integers(0, 1000), latency=st.floats(0, 1e5))
def test_time_goes_by(start: int, latency: float) -> None:
    video = scenario(period_ms=40.0, ticks=8)
    frame = start // 8
    then, following = video.next_start(start, frame, latency)
    assert then > start and following > frame and then // 8 == following
    assert then * video.tick_ms >= start * video.tick_ms + latency - video.tick_ms / 2


@pytest.mark.parametrize(
    "change", [{"frames": 0}, {"ticks": 0}, {"period_ms": 0.0}, {"period_ms": math.inf}, {"pre_ms": -1.0},
               {"one_way_ms": math.nan}],
)  # fmt: skip
def test_values_that_are_not_allowed(change: dict[str, float]) -> None:
    with pytest.raises(EvaluationError, match=next(iter(change))):
        replace(scenario(), **change)  # type: ignore[arg-type]
