"""Replays: who answers, when, and what goes up, computed by hand; then what holds for any link."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.evaluate.offload.content.content import SyntheticContent
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.replay import STRATEGIES, Replayed, Strategy, replay
from fluxshard.evaluate.offload.scenario import LinearCurve, Rules, Scenario
from fluxshard.runtime.offload.dispatch import DispatchOptions
from tests.unit.evaluate.offload.small_scenarios import OUTAGE, SLOW, scenario


def latencies(stream: Replayed) -> list[float]:
    return [frame.latency_ms for frame in stream.answered]


def endpoints(stream: Replayed) -> str:
    """A letter per frame; capitals where both ran it because the cloud was late."""
    return "".join(
        frame.endpoint[0].upper() if frame.hedged else frame.endpoint[0] for frame in stream.answered
    )  # fmt: skip


def test_always_edge() -> None:
    stream = replay(scenario(), "edge")
    assert latencies(stream) == pytest.approx([8 + 162, *[8 + 62] * 5])
    assert endpoints(stream) == "eeeeee" and stream.sent_bytes == 0


def test_always_cloud() -> None:
    stream = replay(scenario(), "cloud")
    assert latencies(stream) == pytest.approx([8 + 100 + 40 + 25, *[8 + 10 + 40 + 5] * 5])
    assert endpoints(stream) == "cccccc"
    assert stream.sent_bytes == 150_000 and stream.spare_bytes == 0


def test_a_slow_stream_answers_the_newest_frame() -> None:
    """25 frames a second: after 170 ms, frame 4 (160 ms) is the newest; from then on, every 70 ms."""
    stream = replay(scenario(period_ms=40.0, ticks=40, frames=12), "edge")
    assert [(frame.frame, frame.start_ms) for frame in stream.answered] == [
        (0, 0), (4, 170), (6, 240), (7, 310), (9, 380), (11, 450),
    ]  # fmt: skip


@pytest.mark.parametrize("strategy", ["cloud", "paper"])
def test_who_does_not_hedge_waits_for_the_link(strategy: Strategy) -> None:
    """10 kB from 2008 on: 6200 until 3000, the rest by 3003.8. The stall is over then, and not believed any more."""
    stream = replay(scenario(OUTAGE), strategy)
    outage = 3003.8 + 45 - 2000
    assert latencies(stream) == pytest.approx([173, 63, outage, 63, 63, 63])
    assert endpoints(stream) == "cccccc"


@pytest.mark.parametrize("strategy", ["hedged", "hedged+warm"])
def test_an_outage_is_bounded_by_its_detection_and_the_edge(strategy: Strategy) -> None:
    """At first the link is not known, so the edge starts beside it, and is faster by 3 ms.

    In the outage it is called after 80 ms (see the tests of `hedging`). Frame 3 begins while the upload is still under
    way, so it cannot go up.
    """
    stream = replay(scenario(OUTAGE), strategy)
    assert endpoints(stream) == "EcEecc"
    assert latencies(stream) == pytest.approx([170, 63, 8 + 80 + 62, 70, 63, 63])
    assert stream.spare_bytes == 110_000


def test_both_always() -> None:
    """The edge begins every frame: the faster one answers."""
    stream = replay(scenario(OUTAGE), "both")
    assert latencies(stream) == pytest.approx([170, 63, 70, 70, 63, 63])
    assert endpoints(stream) == "ECEeCC"
    assert stream.spare_bytes == pytest.approx(110_000)  # the first frame, and the one of the outage


def test_the_oracle_knows_the_link() -> None:
    """On a fast link, the edge is only for the outage; it has run nothing yet."""
    stream = replay(scenario(LinkTrace("fast", (80.0, 80.0, 0.0, 80.0, 80.0, 80.0))), "oracle")
    assert endpoints(stream) == "cceccc"
    assert latencies(stream) == pytest.approx([8 + 10 + 40 + 25, 54, 8 + 162, 54, 54, 54])


def test_what_is_best_for_one_frame_is_not_for_all() -> None:
    """The oracle takes the edge for 3 ms, and never pays for the whole frame that the server would need first."""
    stream = replay(scenario(), "oracle")
    assert endpoints(stream) == "eeeeee" and latencies(stream) == pytest.approx([170, *[70] * 5])
    assert sum(latencies(replay(scenario(), "cloud"))) < sum(latencies(stream))


def test_a_slow_link_is_left_and_probed() -> None:
    """100 bytes per ms: 145 ms in the cloud against 62. Without refreshes, one upload in two seconds stays."""
    cold, warm = (replay(scenario(SLOW), strategy) for strategy in ("hedged", "hedged+warm"))
    assert endpoints(cold) == endpoints(warm) == "Eeeeee"
    assert latencies(cold) == latencies(warm) == pytest.approx([170, *[70] * 5])
    # frame 1 begins before the outcome of frame 0 is known; the probe is frame 4, more than 2 s after 1008 ms
    assert cold.sent_bytes == cold.spare_bytes == 110_000
    assert warm.sent_bytes == warm.spare_bytes == 140_000


@pytest.mark.parametrize(("busy_w", "expected"), [(10.0, "ccccccc"), (5.0, "eeeeeee")])
def test_least_energy_is_not_least_latency(busy_w: float, expected: str) -> None:
    """145 ms of waiting with 5 W take 725 mJ; 62 ms on the edge with 10 W more 930, and with 5 W more 620."""
    own, least = scenario(SLOW, frames=12), Rules(dispatch=DispatchOptions(minimize="energy"), hedge_share=0.0)
    watts = replace(own, joules=lambda latency_ms, busy_ms: (5.0 * latency_ms + busy_w * busy_ms) / 1e3)
    # where waiting is chosen, the edge would be faster, so that four frames are hedged until the budget is empty
    assert endpoints(replay(watts, "hedged", least))[5:] == expected
    assert endpoints(replay(watts, "hedged", Rules(hedge_share=0.0)))[5:] == "eeeeeee"
    assert endpoints(replay(own, "hedged", least))[5:] == "eeeeeee"  # nothing is known of energy


def test_an_upload_that_lost_is_cut() -> None:
    """Of 10 kB, 142 ms at 6.25 bytes have gone until the edge's answer.

    That is all that is known of the link then, so it is left until a probe, which is due 2 s later.
    """
    stream = replay(scenario(OUTAGE), "hedged", Rules(lost_uploads="cut"))
    assert endpoints(stream) == "EcEeee"
    assert stream.spare_bytes == pytest.approx(100_000 + 142 * 6.25 + 10_000)


def test_an_edge_that_still_runs_is_waited_for_or_not() -> None:
    """Both ran frame 0, the cloud answered first; frame 1 goes to the cloud at once, or when the edge has ended."""
    fast = LinkTrace("fast", (80.0,))
    video = scenario(fast, period_ms=40.0, ticks=40, frames=3)
    at_once = replay(video, "hedged")
    waits = replay(video, "hedged", Rules(waits_for_edge=True))
    assert endpoints(at_once)[:2] == endpoints(waits)[:2] == "Cc"
    # 83 ms for frame 0, of which the edge runs until 170; frame 2 begins at 83
    assert latencies(at_once) == pytest.approx([83, 54])
    assert latencies(waits) == pytest.approx([83, 170 - 83 + 54])


def test_packets_are_forwarded_while_the_edge_answers() -> None:
    content = SyntheticContent((0.0,) * 6, lambda _share: 1000.0, packet_bytes=4000.0, key_bytes=20_000.0)
    for strategy, sent in (("edge", 0), ("oracle", 20_000 + 5 * 4000)):
        stream = replay(scenario(LinkTrace("very slow", (0.1,)), content), strategy)  # type: ignore[arg-type]
        assert endpoints(stream) == "eeeeee" and stream.sent_bytes == sent


links = st.lists(st.sampled_from([0.0, 0.5, 3.0, 20.0, 100.0]), min_size=1, max_size=6)
shares = st.lists(st.floats(0, 0.3), min_size=1, max_size=8)


def any_scenario(mbps: list[float], changes: list[float], packet_bytes: float) -> Scenario:
    content = SyntheticContent(
        changes, lambda share: 1000 + 300_000 * share, packet_bytes=packet_bytes, key_bytes=3 * packet_bytes
    )
    return Scenario(
        link=LinkTrace("any", tuple(mbps)), content=content, edge_ms=LinearCurve(100, 300), cloud_ms=LinearCurve(3, 25),
        frames=120,
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(links, shares, st.sampled_from([0.0, 10_000.0]), st.sampled_from(STRATEGIES))
def test_of_any_stream(mbps: list[float], changes: list[float], packet_bytes: float, strategy: Strategy) -> None:
    video = any_scenario(mbps, changes, packet_bytes)
    stream = replay(video, strategy)
    assert stream == replay(video, strategy)
    frames = stream.answered
    assert frames[0].frame == 0 and all(frame.latency_ms >= video.pre_ms + 28 for frame in frames)
    for before, after in itertools.pairwise(frames):
        assert after.frame > before.frame and after.start_ms >= after.frame * video.period_ms - 1e-6
        assert after.start_ms >= before.start_ms + before.latency_ms - video.tick_ms / 2 - 1e-6
    assert -1e-6 <= stream.spare_bytes <= stream.sent_bytes + 1e-6
    if strategy == "edge":
        assert stream.sent_bytes == 0 and {frame.endpoint for frame in frames} == {"edge"}
    if strategy in ("both", "edge", "oracle"):
        assert max(latencies(stream)) <= 8 + 400 + 400  # an edge that is done with the frame before


@settings(max_examples=40, deadline=None)
@given(links, shares, st.sampled_from(["hedged", "hedged+warm"]))
def test_hedging_bounds_every_frame(mbps: list[float], changes: list[float], strategy: Strategy) -> None:
    """With tokens or without: the wait of a rescue, then an edge that may be busy with the frame before."""
    video = any_scenario(mbps, changes, 0.0)
    worst = max(latencies(replay(video, strategy)))
    edge = 400
    assert worst <= 8 + max(250, 0.75 * edge, 2 * edge) + 5 + 2 * edge


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 100), st.floats(0, 1), st.sampled_from(STRATEGIES))
def test_where_caches_do_not_age_and_the_link_is_steady_nobody_beats_the_oracle(
    mbps: float, share: float, strategy: Strategy
) -> None:
    """Then the greedy choice is the best one, frame by frame: both endpoints always take the same."""

    class Ageless(SyntheticContent):
        def work(self, ran: int, frame: int) -> tuple[float, ...]:
            return (share,)

    content = Ageless((0.0,), lambda work: 1000 + 100_000 * work)
    video = Scenario(
        link=LinkTrace("steady", (mbps,)), content=content, edge_ms=LinearCurve(100, 300),
        cloud_ms=LinearCurve(3, 25), frames=90,
    )  # fmt: skip
    edge = 8 + 100 + 300 * share
    cloud = 8 + (1000 + 100_000 * share) / (mbps * 125) + 40 + 3 + 25 * share
    assert latencies(replay(video, "oracle")) == pytest.approx(
        [min(edge, cloud)] * len(replay(video, "oracle").answered)
    )
    assert min(latencies(replay(video, strategy))) >= min(edge, cloud) - 1e-6


def test_after_an_outage_the_cloud_is_used_again() -> None:
    """The link is back after 7 s: a stream that gave it up returns within the 2 s that a probe may take."""
    content = SyntheticContent((0.05,) * 30, lambda _share: 0.0, packet_bytes=26_000.0, key_bytes=150_000.0)
    video = Scenario(
        link=LinkTrace("outage", (50.0, 50.0, 50.0, 0.0, 0.0, 0.0, 0.0, 50.0)), content=content,
        edge_ms=LinearCurve(100, 300), cloud_ms=LinearCurve(3, 25), frames=900,
    )  # fmt: skip
    stream = replay(video, "hedged+warm")
    during = [frame.endpoint for frame in stream.answered if 4000 < frame.start_ms < 6900]
    after = [frame.endpoint for frame in stream.answered if 9000 < frame.start_ms < 10_900]
    assert set(during) == {"edge"} and after.count("cloud") > 0.8 * len(after)
    assert 0 < sum(frame.hedged for frame in stream.answered) <= 4 + 0.05 * len(stream.answered)
    assert max(latencies(stream)) < 900 < 3000 < max(latencies(replay(video, "paper")))


def test_a_cache_that_is_kept_warm_helps() -> None:
    """The link is slow for three seconds and fast for three. Whoever waits is sent 1 MB then."""
    content = SyntheticContent((0.01,) * 30, lambda share: 1_000_000 * share)
    video = Scenario(
        link=LinkTrace("fading", (2.0, 2.0, 2.0, 30.0, 30.0, 30.0)), content=content,
        edge_ms=LinearCurve(100, 300), cloud_ms=LinearCurve(3, 25), frames=900,
    )  # fmt: skip
    warm, cold = (float(np.mean(latencies(replay(video, name)))) for name in ("hedged+warm", "hedged"))  # type: ignore[arg-type]
    assert warm < cold
