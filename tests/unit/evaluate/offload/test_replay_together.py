"""Streams that share a link and a server; the parts of latency; frames that the last result answers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.replay import STRATEGIES, Parts, Replayed, Strategy, replay, replay_together
from fluxshard.evaluate.offload.scenario import LinearCurve, Rules
from tests.unit.evaluate.offload.small_scenarios import OUTAGE, SLOW, STEADY, scenario


def latencies(stream: Replayed) -> list[float]:
    return [frame.latency_ms for frame in stream.answered]


def parts_of(stream: Replayed, frame: int) -> Parts:
    return stream.answered[frame].parts


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_stream_together_is_a_stream_alone(strategy: Strategy) -> None:
    assert replay_together([scenario(OUTAGE)], strategy) == (replay(scenario(OUTAGE), strategy),)


def test_parts_by_hand() -> None:
    """See `test_replay`: 8 to decide, 10 kB at 1 kB a millisecond, 20 either way, 5 in the cloud, 62 on the edge."""
    cloud = replay(scenario(), "cloud")
    assert dataclasses.asdict(parts_of(cloud, 1)) == pytest.approx(
        {
            "pre_ms": 8, "queue_ms": 0, "upload_ms": 10, "propagation_ms": 40, "server_wait_ms": 0, "server_ms": 5,
            "edge_ms": 0,
        }
    )  # fmt: skip
    assert [frame.work for frame in cloud.answered] == [1, 0, 0, 0, 0, 0] and cloud.answered[1].busy_ms == 0
    hedged = replay(scenario(OUTAGE), "hedged")
    late = hedged.answered[2]
    assert late.hedged and late.endpoint == "edge" and late.busy_ms == 62
    assert late.parts == Parts(pre_ms=8, queue_ms=pytest.approx(80), edge_ms=62)
    first = replay(scenario(LinkTrace("fast", (80.0,)), period_ms=40.0, ticks=40, frames=3), "hedged").answered[0]
    assert first.endpoint == "cloud" and first.hedged and first.busy_ms == 162  # the edge ran it, too


def test_uploads_wait_for_each_other_and_so_does_the_server() -> None:
    """Two whole frames of 100 kB at once, 25 ms each on the server; then 10 kB, which take 5 ms there."""
    one, two = replay_together([scenario(), scenario()], "cloud")
    assert latencies(one) == pytest.approx([173, *[63] * 5])
    assert latencies(two) == pytest.approx([173 + 100, *[63 + 10] * 5])
    assert parts_of(two, 0).queue_ms == pytest.approx(100) and parts_of(two, 0).server_wait_ms == 0
    fast = LinkTrace("fast", (8000.0,))  # 0.1 ms for 100 kB
    _, second = replay_together([scenario(fast), scenario(fast)], "cloud")
    assert parts_of(second, 0).server_wait_ms == pytest.approx(25 - 0.1)
    assert latencies(second)[0] == pytest.approx(8 + 0.1 + 0.1 + 40 + 25 - 0.1 + 25)


def test_cameras_that_are_out_of_step_do_not_meet() -> None:
    streams = replay_together([scenario(), dataclasses.replace(scenario(), offset_ms=500.0)], "cloud")
    for stream in streams:
        assert latencies(stream) == pytest.approx(latencies(replay(scenario(), "cloud")))
    assert streams[1].answered[1].start_ms == 1500


def test_dispatch_hears_of_the_others() -> None:
    """Over 100 bytes a millisecond, a refresh takes 100 ms: what others send is in the way, and the edge takes over."""
    alone = replay(scenario(LinkTrace("link", (4.0,))), "hedged+warm")
    crowd = replay_together([scenario(LinkTrace("link", (4.0,))) for _ in range(4)], "hedged+warm")
    by_cloud = [sum(frame.endpoint == "cloud" for frame in stream.answered) for stream in (alone, *crowd)]
    assert by_cloud[0] >= max(by_cloud[1:])


def test_streams_share_one_link() -> None:
    with pytest.raises(EvaluationError, match="share one link"):
        replay_together([scenario(STEADY), scenario(SLOW)], "cloud")
    with pytest.raises(EvaluationError, match="0 streams"):
        replay_together([], "cloud")


def test_repeated_frames_take_no_endpoint() -> None:
    """Odd frames are answered by the last result; the server's cache stays where it was."""
    asked: list[tuple[int, int]] = []

    def odd(ran: int, frame: int) -> bool:
        asked.append((ran, frame))
        return frame % 2 == 1

    video = dataclasses.replace(scenario(), repeats=odd, repeat_ms=1.0)
    stream = replay(video, "cloud")
    assert latencies(stream) == pytest.approx([173, 9, 63, 9, 63, 9])
    assert [frame.repeated for frame in stream.answered] == [False, True] * 3
    assert asked == [(0, 1), (0, 2), (2, 3), (2, 4), (4, 5)]
    assert stream.sent_bytes == 100_000 + 2 * 10_000
    assert parts_of(stream, 1) == Parts(pre_ms=9) and stream.answered[1].busy_ms == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0.1, 3.0, 20.0, 100.0]), min_size=1, max_size=4), st.integers(1, 4),
    st.sampled_from(STRATEGIES), st.booleans(),
)  # fmt: skip
def test_of_any_streams(mbps: list[float], edges: int, strategy: Strategy, waits: bool) -> None:
    link = LinkTrace("any", tuple(mbps))
    video = scenario(link, period_ms=100.0, ticks=10, frames=20)
    videos = [
        dataclasses.replace(video, offset_ms=30.0 * number, edge_ms=LinearCurve(100, 200)) for number in range(edges)
    ]
    for one, stream in zip(videos, replay_together(videos, strategy, Rules(waits_for_edge=waits)), strict=True):
        for frame in stream.answered:
            parts = dataclasses.astuple(frame.parts)
            assert sum(parts) == pytest.approx(frame.latency_ms) and min(parts) >= -1e-6
            assert frame.start_ms >= one.offset_ms and 0 <= frame.work <= 1
            assert (frame.parts.edge_ms > 0) == (frame.endpoint == "edge")
