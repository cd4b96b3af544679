"""Figures of replayed streams."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.measures import pooled, skill, stream_figures
from fluxshard.evaluate.offload.replay import Answered, Replayed
from fluxshard.runtime.offload.dispatch import Endpoint


def frame(number: int, start_ms: float, latency_ms: float, by: Endpoint = "cloud", hedged: bool = False) -> Answered:
    return Answered(frame=number, endpoint=by, start_ms=start_ms, latency_ms=latency_ms, hedged=hedged)


# captured every 40 ms: frame 0 at 0, answered at 100; frame 2 at 80, answered at 150; frame 3 at 120, answered at 170
STREAM = Replayed(
    answered=(frame(0, 0, 100), frame(2, 100, 50, "edge", True), frame(3, 150, 20)), sent_bytes=900.0, spare_bytes=300.0
)


def test_figures_of_one_stream() -> None:
    figures = pooled([stream_figures(STREAM, 40.0)])
    assert figures.frames == 3 and figures.mean_ms == pytest.approx(170 / 3) and figures.p50_ms == 50
    assert figures.max_ms == 100 and 95 <= figures.p95_ms < figures.p99_ms < figures.p999_ms < 100
    assert figures.hedged == pytest.approx(1 / 3) and figures.by_cloud == pytest.approx(2 / 3)
    assert figures.sent_bytes == 300 and figures.spare == pytest.approx(1 / 3)
    # from 100 to 150 ms, frame 0 is known: 100 to 150 ms old; until 170, frame 2: 70 to 90
    assert figures.age_ms == pytest.approx((50 * 125 + 20 * 80) / 70)
    assert figures.fps == pytest.approx(3000 / 70)


def test_all_frames_of_all_streams_count_the_same() -> None:
    other = Replayed(answered=(frame(0, 0, 10, "edge"),), sent_bytes=0.0, spare_bytes=0.0)
    figures = pooled([stream_figures(STREAM, 40.0), stream_figures(other, 40.0)])
    assert figures.frames == 4 and figures.mean_ms == 45 and figures.sent_bytes == 225
    assert figures.age_ms == pooled([stream_figures(STREAM, 40.0)]).age_ms


def test_what_cannot_be_measured() -> None:
    with pytest.raises(EvaluationError, match="no streams"):
        pooled([])
    one = pooled([stream_figures(Replayed(answered=(frame(0, 0, 10),), sent_bytes=0.0, spare_bytes=0.0), 40.0)])
    assert np.isnan(one.age_ms) and np.isnan(one.fps) and one.spare == 0


def test_skill_is_the_share_of_the_way_to_the_oracle() -> None:
    assert skill(60, (100, 80), 60) == 1
    assert skill(80, (100, 80), 60) == 0
    assert skill(90, (100, 80), 60) == -0.5
    assert skill(75, (100, 80), 60) == 0.25
    assert skill(60, (60.05, 80), 60) is None
