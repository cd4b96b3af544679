"""Where frames go: tables of cases for Algorithm 1 and for the default policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import OptionError
from fluxshard.runtime.offload.dispatch import DispatchInputs, DispatchOptions, cloud_time, decide, edge_time

PAPER = DispatchOptions(policy="paper", margin_ms=5)
HEDGED = DispatchOptions(margin_ms=5)
# 26 kB at 10 Mbit/s are 20.8 ms
KNOWN = DispatchInputs(edge_ms=60, cloud_ms=10, upload_bytes=26_000, uplink_bytes_per_ms=1250.0)


@pytest.mark.parametrize(
    ("edge_ms", "cloud_ms", "kilobytes", "mbps", "expected"),
    [
        (60, 10, 26, 10, "cloud"),  # 60 against 30.8
        (30, 10, 26, 10, "cloud"),  # 30 against 30.8: within epsilon
        (25.9, 10, 26, 10, "cloud"),  # 4.9 faster: not by more than epsilon
        (25.7, 10, 26, 10, "edge"),  # 5.1 faster
        (60, 10, 26, 2, "edge"),  # 60 against 114
        (60, 10, 0, 2, "cloud"),  # nothing to send
        (60, 70, 0, 1000, "edge"),  # the edge is faster by 10
    ],
)
def test_algorithm_1(edge_ms: float, cloud_ms: float, kilobytes: float, mbps: float, expected: str) -> None:
    inputs = DispatchInputs(
        edge_ms=edge_ms, cloud_ms=cloud_ms, upload_bytes=int(1000 * kilobytes), uplink_bytes_per_ms=mbps * 125,
        # Algorithm 1 knows none of these
        edge_wait_ms=1000, server_wait_ms=1000, backlog_bytes=10**9, propagation_ms=500, slow_start_ms=100,
    )  # fmt: skip
    assert decide(inputs, PAPER).endpoint == expected


def test_the_equations() -> None:
    inputs = replace(
        KNOWN,
        edge_wait_ms=7,
        server_wait_ms=3,
        cloud_pre_ms=8,
        backlog_bytes=12_500,
        slow_start_ms=40,
        propagation_ms=20,
    )
    assert edge_time(inputs, "paper") == 60 and edge_time(inputs) == 67
    assert cloud_time(inputs, "paper") == pytest.approx(10 + 20.8)
    assert cloud_time(inputs) == pytest.approx(8 + 40 + 20.8 + 10 + 40 + 3 + 10)
    decision = decide(inputs, HEDGED)
    assert (decision.edge_ms, decision.cloud_ms) == (67, cloud_time(inputs))


@pytest.mark.parametrize("options", [PAPER, HEDGED])
@pytest.mark.parametrize(
    ("change", "endpoint", "reason"),
    [
        ({"cloud_open": False}, "edge", "no server"),
        ({"cloud_open": False, "edge_ms": None}, "edge", "no server"),
        ({"edge_ms": None}, "edge", "the edge has not been measured"),
        ({"cloud_ms": None}, "cloud", "the cloud has not been measured"),
        ({"uplink_bytes_per_ms": None}, "cloud", "the cloud has not been measured"),
        ({"edge_ms": None, "cloud_ms": None}, "edge", "the edge has not been measured"),
    ],
)
def test_what_is_not_known_is_tried(
    options: DispatchOptions, change: dict[str, object], endpoint: str, reason: str
) -> None:
    decision = decide(replace(KNOWN, **change), options)  # type: ignore[arg-type]
    assert decision.endpoint == endpoint and reason in decision.reason


def test_a_queue_or_a_backlog_moves_frames_to_the_edge() -> None:
    assert decide(KNOWN, HEDGED).endpoint == "cloud"
    for change in ({"server_wait_ms": 50.0}, {"backlog_bytes": 100_000}, {"propagation_ms": 20.0}):
        assert decide(replace(KNOWN, **change), HEDGED).endpoint == "edge", change
    assert decide(replace(KNOWN, server_wait_ms=50.0, edge_wait_ms=100.0), HEDGED).endpoint == "cloud"


def test_the_tail_counts_as_much_as_its_weight() -> None:
    risky = replace(KNOWN, cloud_q95=6.0, edge_q95=1.05)  # 31 ms, but 185 ms once in 20 frames
    assert decide(risky, HEDGED).endpoint == "cloud"
    assert decide(risky, replace(HEDGED, tail_weight=1.0)).endpoint == "edge"


def test_a_deadline_decides_before_the_mean() -> None:
    risky = replace(KNOWN, cloud_q95=4.0, edge_q95=1.1)
    decision = decide(risky, replace(HEDGED, deadline_ms=100))
    assert decision.endpoint == "edge" and "deadline" in decision.reason
    both_miss = decide(risky, replace(HEDGED, deadline_ms=20))
    assert both_miss.endpoint == "cloud" and "faster" in both_miss.reason


def test_energy_is_minimized_among_what_meets_the_deadline() -> None:
    known = replace(KNOWN, edge_mj=900, cloud_mj=200)
    options = replace(HEDGED, minimize="energy")
    assert decide(known, options).endpoint == "cloud"
    assert decide(replace(known, edge_mj=100), options).endpoint == "edge"
    late = replace(known, edge_mj=100, edge_q95=3.0)
    assert decide(late, replace(options, deadline_ms=100)).endpoint == "cloud"
    assert decide(replace(known, edge_mj=None), options).reason.startswith("faster")


positive = st.floats(0.1, 1e4)


@given(
    edge_ms=positive, cloud_ms=positive, upload=st.integers(0, 10**7), rate=st.floats(1, 1e6), wait=positive,
    slower=positive, policy=st.sampled_from(["paper", "hedged"]),
)  # fmt: skip
def test_a_slower_cloud_never_wins_what_it_lost(
    edge_ms: float, cloud_ms: float, upload: int, rate: float, wait: float, slower: float, policy: str
) -> None:
    options = DispatchOptions(policy=policy)  # type: ignore[arg-type]
    inputs = DispatchInputs(
        edge_ms=edge_ms, cloud_ms=cloud_ms, upload_bytes=upload, uplink_bytes_per_ms=rate, server_wait_ms=wait
    )
    if decide(inputs, options).endpoint == "edge":
        assert decide(replace(inputs, cloud_ms=cloud_ms + slower), options).endpoint == "edge"
        assert decide(replace(inputs, uplink_bytes_per_ms=rate / 2), options).endpoint == "edge"
    assert decide(inputs, options) == decide(inputs, options)  # a record replays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "fast"}, "must be 'paper' or 'hedged'"),
        ({"minimize": "cost"}, "must be 'latency' or 'energy'"),
        ({"margin_ms": -1}, r"margin_ms \(=-1\) must be a finite number of at least 0"),
        ({"tail_weight": float("nan")}, "tail_weight"),
        ({"deadline_ms": 0}, r"deadline_ms \(=0\) must be a finite number above 0, or None"),
    ],
)
def test_options_that_are_not_allowed(change: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        DispatchOptions(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (HEDGED, True),
        (replace(HEDGED, second_look_s=0.0), False),
        (replace(HEDGED, minimize="energy"), False),  # a slower server may be the cheaper one
        (replace(HEDGED, deadline_ms=80.0), False),  # or the one that is late more rarely
        (replace(HEDGED, tail_weight=0.1), False),
        (PAPER, False),
    ],
)
def test_when_a_slower_server_is_of_no_use(options: DispatchOptions, expected: bool) -> None:
    assert options.may_do_without == expected
