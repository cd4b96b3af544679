"""Replays: who answers, when, and how far from an oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.replay import STRATEGIES, Answered, Scenario, Strategy, replay

STEADY = Scenario(
    link=LinkTrace("steady", (50.0,)), work=(0.05,) * 300, edge_ms=lambda share: 100 + 300 * share,
    cloud_ms=lambda share: 3 + 25 * share, upload_bytes=lambda _, frames: min(26_000.0 * frames, 150_000.0),
)  # fmt: skip
OUTAGE = replace(STEADY, link=LinkTrace("outage", (50.0, 50.0, 50.0, 0.0, 0.0, 0.0, 0.0, 50.0)), work=(0.05,) * 900)


def mean(answered: list[Answered]) -> float:
    return float(np.mean([frame.latency_ms for frame in answered]))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_frames_are_answered_one_after_the_other(strategy: Strategy) -> None:
    answered = replay(STEADY, strategy)
    numbers = [frame.frame for frame in answered]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0 and numbers[-1] >= 280
    assert all(frame.latency_ms >= STEADY.pre_ms for frame in answered)
    assert answered == replay(STEADY, strategy)


def test_one_endpoint_takes_what_its_function_says() -> None:
    edge = replay(STEADY, "edge")
    assert edge[0].latency_ms == pytest.approx(8 + 400) and edge[0].endpoint == "edge"
    frames = edge[1].frame - edge[0].frame
    assert edge[1].latency_ms == pytest.approx(8 + 100 + 300 * (1 - 0.95**frames))
    cloud = replay(STEADY, "cloud")
    assert cloud[0].latency_ms == pytest.approx(8 + 26_000 / 6250 + 40 + 28)
    assert {frame.endpoint for frame in cloud} == {"cloud"} and not any(frame.hedged for frame in cloud)


def test_the_faster_endpoint_is_found() -> None:
    best = mean(replay(STEADY, "oracle"))
    for strategy in ("paper", "hedged", "hedged+warm"):
        assert mean(replay(STEADY, strategy)) < best + 5  # type: ignore[arg-type]
    slow = replace(STEADY, link=LinkTrace("slow", (0.3,)))
    assert mean(replay(slow, "hedged")) < 1.2 * mean(replay(slow, "edge"))
    assert {frame.endpoint for frame in replay(slow, "oracle")[1:]} == {"edge"}


def test_an_outage_is_bounded_by_hedging_and_by_nothing_else() -> None:
    worst = {strategy: max(frame.latency_ms for frame in replay(OUTAGE, strategy)) for strategy in STRATEGIES}
    assert worst["cloud"] > 3000 and worst["paper"] > 3000
    assert worst["hedged"] < 1000 and worst["hedged+warm"] < 1000
    assert worst["both"] <= 8 + 400


def test_after_an_outage_the_cloud_is_used_again() -> None:
    """The link is back after 7 s: a stream that gave it up returns within the 2 s that a probe may take."""
    answered = replay(OUTAGE, "hedged+warm")
    captured = [(frame.frame * OUTAGE.period_ms, frame.endpoint) for frame in answered]
    during = [endpoint for at, endpoint in captured if 4000 < at < 6900]
    after = [endpoint for at, endpoint in captured if 9000 < at < 10_900]
    assert set(during) == {"edge"} and after.count("cloud") > 0.8 * len(after)


def test_few_frames_are_run_twice() -> None:
    answered = replay(OUTAGE, "hedged")
    hedged = sum(frame.hedged for frame in answered)
    assert 0 < hedged <= 4 + 0.05 * len(answered)


def test_a_cache_that_is_kept_warm_helps_more_than_one_that_is_not() -> None:
    rng = np.random.default_rng(2)
    link = LinkTrace("fading", tuple(rng.choice([0.2, 1.0, 4.0, 30.0], 40).tolist()))
    scenario = replace(STEADY, link=link, work=(0.05,) * 900, upload_bytes=lambda share, _: 1_000_000 * share)
    assert mean(replay(scenario, "hedged+warm")) <= mean(replay(scenario, "hedged"))
