"""The optimum of a replay: what trying everything finds, and no worse than any policy that it contains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.evaluate.offload.content.content import SyntheticContent, upload_bytes
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.optimum import optimum
from fluxshard.evaluate.offload.replay import Answered, replay
from fluxshard.evaluate.offload.scenario import LinearCurve, Scenario
from tests.unit.evaluate.offload.small_scenarios import OUTAGE, scenario


def mean(frames: tuple[Answered, ...]) -> float:
    return float(np.mean([frame.latency_ms for frame in frames]))


def tried(video: Scenario) -> float:
    """The least mean of all ways to place the frames, refreshes that arrive in time included."""
    means = []

    def walk(start: int, frame: int, edge_ran: int, cloud_ran: int, total: float, count: int) -> None:
        if frame >= video.frames:
            means.append(total / count)
            return
        now = start * video.tick_ms
        edge_ms = video.pre_ms + video.edge_ms(video.content.work(edge_ran, frame))
        n_bytes = upload_bytes(video.content, cloud_ran, cloud_ran, frame)
        arrived = video.link.arrival_ms(now + video.pre_ms, n_bytes)
        cloud_ms = arrived - now + 2 * video.one_way_ms + video.cloud_ms(video.content.work(cloud_ran, frame))
        ways = [(edge_ms, frame, cloud_ran), (cloud_ms, edge_ran, frame)]
        if cloud_ms <= edge_ms:
            ways.append((edge_ms, frame, frame))
        for latency, edge, cloud in ways:
            walk(*video.next_start(start, frame, latency), edge, cloud, total + latency, count + 1)

    walk(0, 0, -1, -1, 0.0, 0)
    return min(means)


links = st.lists(st.sampled_from([0.0, 0.5, 2.0, 8.0, 40.0]), min_size=1, max_size=4)
shares = st.lists(st.floats(0, 0.5), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(links, shares, st.sampled_from([60.0, 200.0]), st.sampled_from([0.0, 20_000.0]))
def test_nothing_is_better(mbps: list[float], changes: list[float], period_ms: float, packet_bytes: float) -> None:
    content = SyntheticContent(
        changes, lambda share: 1000 + 100_000 * share, packet_bytes=packet_bytes, key_bytes=2 * packet_bytes
    )
    video = Scenario(
        link=LinkTrace("any", tuple(mbps)), content=content, edge_ms=LinearCurve(50, 300), cloud_ms=LinearCurve(5, 20),
        frames=7, period_ms=period_ms, ticks=20,
    )  # fmt: skip
    best = tried(video)
    for start in (best, 10 * best):
        assert mean(optimum(video, start, most_age=8)) == pytest.approx(best, abs=0.06, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(links, shares)
def test_the_greedy_oracle_and_static_choices_are_among_what_is_tried(mbps: list[float], changes: list[float]) -> None:
    """Of payloads of pixels, and where no cache gets older than what is told apart."""
    content = SyntheticContent(changes, lambda share: 1000 + 300_000 * share)
    video = Scenario(
        link=LinkTrace("any", tuple(mbps)), content=content, edge_ms=LinearCurve(100, 300),
        cloud_ms=LinearCurve(3, 25), frames=48,
    )  # fmt: skip
    others = [mean(replay(video, strategy).answered) for strategy in ("oracle", "edge", "cloud")]  # type: ignore[arg-type]
    assert mean(optimum(video, others[0], most_age=48)) <= min(others) + 0.06


def test_an_outage_is_foreseen() -> None:
    """The edge takes 208 ms for its first frame, and 108 with a cache: it runs frame 0, which also goes up.

    So the server has a cache, and the edge has one when the link is away for frame 2. Without the refresh, frame 1 or
    frame 2 had been a whole one.
    """
    video = replace(scenario(OUTAGE, ticks=20), edge_ms=LinearCurve(100, 100))
    frames = optimum(video, 60.0, most_age=8)
    assert [frame.endpoint[0] for frame in frames] == list("ececcc")
    assert [frame.latency_ms for frame in frames] == pytest.approx([208, 63, 108, 63, 63, 63])
    assert mean(frames) == pytest.approx(tried(video)) and not any(frame.hedged for frame in frames)


def test_a_refresh_that_is_late_is_none() -> None:
    """The edge is faster than the cloud for frame 0, by 3 ms, and slower by 7 ms from then on."""
    frames = optimum(scenario(ticks=20), 60.0, most_age=8)
    assert [frame.latency_ms for frame in frames] == pytest.approx([173, *[63] * 5])
