"""When the edge is called beside an upload of a replay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.evaluate.offload.hedging import hedge_start_ms
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.scenario import Scenario
from fluxshard.evaluate.offload.uploads import Flight, Uploads
from fluxshard.runtime.offload.hedge import HedgeBudget
from tests.unit.evaluate.offload.small_scenarios import OUTAGE, STEADY, scenario


def flight_at(video: Scenario, ready: float, n_bytes: float = 10_000.0) -> Flight:
    arrived = video.link.arrival_ms(ready, n_bytes)
    return Flight(1, n_bytes, ready, arrived, 5.0, arrived + 45.0)


def test_an_upload_as_expected_is_waited_for() -> None:
    video = scenario(STEADY)
    flight = flight_at(video, 8.0, 100_000)
    assert hedge_start_ms(video, flight, 8.0, 1000.0, 145.0, 62.0, 0.0, HedgeBudget()) == pytest.approx(8.0)
    assert hedge_start_ms(video, flight, 8.0, 1000.0, 145.0, 162.0, 0.0, HedgeBudget()) is None


def test_a_time_that_was_accepted_is_waited_for() -> None:
    video = scenario(STEADY)
    flight = flight_at(video, 8.0, 100_000)
    assert hedge_start_ms(video, flight, 8.0, 1000.0, 145.0, 62.0, 0.0, HedgeBudget(), accepted_ms=145.0) is None


def test_an_outage_is_seen_by_silence() -> None:
    """10 kB are expected after 10 ms, and heard of 40 later. The edge is called when 4 * (silence - 20) + 5 > 62 + 5.

    That is 35.5 ms after 40, and the next look is at 80.
    """
    video = scenario(OUTAGE)
    flight = flight_at(video, 2008.0)
    assert hedge_start_ms(video, flight, 2008.0, 1000.0, 55.0, 62.0, 0.0, HedgeBudget()) == pytest.approx(2088.0)


def test_an_edge_that_is_busy_is_called_later() -> None:
    video = scenario(OUTAGE)
    flight = flight_at(video, 2008.0)
    at = hedge_start_ms(video, flight, 2008.0, 1000.0, 55.0, 62.0, 2158.0, HedgeBudget())
    # 4 * (silence - 20) + 5 > 150 - silence - 40 + 62 + 5
    assert at == pytest.approx(2008 + 95)


def test_without_a_token_the_bound_counts() -> None:
    video, broke = scenario(OUTAGE), replace(HedgeBudget(), tokens=0.0)
    flight = flight_at(video, 2008.0)
    assert hedge_start_ms(video, flight, 2008.0, 1000.0, 55.0, 62.0, 0.0, broke) == pytest.approx(2008 + 255)


def test_nothing_is_expected_of_a_link_that_is_not_known() -> None:
    video = scenario(STEADY)
    assert hedge_start_ms(video, flight_at(video, 8.0), 8.0, None, 0.0, 62.0, 0.0, HedgeBudget()) == 8.0


def test_a_link_that_becomes_slow_is_seen_when_the_next_acknowledgement_is_overdue() -> None:
    """200 kB at 1000 bytes per ms, of which 100 go through until 1000, and are heard of until 1040; then 50 per ms."""
    video = scenario(LinkTrace("fading", (8.0, 0.4)))
    flight = flight_at(video, 900.0, 200_000)
    at = hedge_start_ms(video, flight, 900.0, 1000.0, 245.0, 500.0, 0.0, HedgeBudget())
    assert at is not None and 1040 < at < 1250


@given(
    rate=st.floats(10, 5000), n_bytes=st.integers(1, 10**6), ready=st.floats(0, 5000),
    edge_ms=st.floats(1, 1000), mbps=st.lists(st.floats(0, 100), min_size=1, max_size=5),
)  # fmt: skip
def test_looks_are_on_time(rate: float, n_bytes: int, ready: float, edge_ms: float, mbps: list[float]) -> None:
    """The search finds what looking every 5 ms would find; and a budget never makes it earlier."""
    video = scenario(LinkTrace("any", tuple(mbps)))
    flight = flight_at(video, ready, float(n_bytes))
    at = hedge_start_ms(video, flight, ready, rate, 50.0, edge_ms, 0.0, HedgeBudget())
    assert at is None or (at >= ready and (at - ready) / 5 == pytest.approx(round((at - ready) / 5), abs=1e-6))
    later = hedge_start_ms(video, flight, ready, rate, 50.0, edge_ms, 0.0, replace(HedgeBudget(), tokens=0.0))
    assert later is None or (at is not None and at <= later)


def test_the_server_is_not_asked_twice() -> None:
    """All that is acknowledged: the endpoints of a replay take what they say, so nothing is late any more."""
    video = scenario(STEADY)
    uploads = Uploads(video)
    flight = uploads.plan(0, 0.0)
    assert hedge_start_ms(video, flight, 0.0, 1000.0, 165.0, 1000.0, 0.0, HedgeBudget()) is None
