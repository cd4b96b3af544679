"""When the edge starts beside an upload that is late."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.runtime.offload.hedge import HedgeBudget, Pace, Progress, remaining_ms, rescue_ms, should_hedge

KIB = 1 << 10
# 26 kB at 1250 bytes per ms, of which nothing is heard yet: 20.8 ms
START = Progress(left_bytes=26_000, pace=Pace.expected(26_000, 1250), elapsed_ms=0, silent_ms=0, server_ms=15)


def test_the_expected_pace_is_that_of_the_link() -> None:
    assert Pace.expected(26_000, 1250) == Pace(n_bytes=26_000, ms=pytest.approx(20.8))
    assert Pace.expected(1_000_000, 32 * KIB / 10) == Pace(n_bytes=32 * KIB, ms=pytest.approx(10))  # a little, not all
    assert Pace.expected(26_000, None) == Pace.expected(26_000, 0.0) == Pace()


def test_what_was_acknowledged_last_counts_most() -> None:
    pace = Pace(n_bytes=32 * KIB, ms=10).after(32 * KIB, 100)
    assert pace.n_bytes == pytest.approx(48 * KIB) and pace.ms == pytest.approx(105)  # half of what was before
    assert pace.after(0, 0) == pace
    assert pace.after(16 * KIB, -5).ms < pace.ms  # two acknowledgements at once took no time


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0.01, 1e4)), min_size=1, max_size=20), st.floats(0.1, 1e6))
def test_the_pace_lies_between_those_that_were_seen(seen: list[tuple[int, float]], rate: float) -> None:
    pace = Pace.expected(10**6, rate)
    for n_bytes, ms in seen:
        pace = pace.after(n_bytes, ms)
    paces = [rate, *(n_bytes / ms for n_bytes, ms in seen)]
    assert min(paces) * 0.999 <= pace.n_bytes / pace.ms <= max(paces) * 1.001


def test_at_first_the_expected_rate_counts() -> None:
    assert remaining_ms(START) == pytest.approx(15 + 20.8)
    assert remaining_ms(replace(START, pace=Pace())) == math.inf


def test_silence_makes_the_answer_unlikely() -> None:
    times = [remaining_ms(replace(START, elapsed_ms=ms, silent_ms=ms)) for ms in (0, 10, 50, 200, 1000)]
    assert times == sorted(times) and times[-1] > 1000


def test_a_stall_near_the_end_is_a_stall() -> None:
    """The last 1000 bytes take 0.8 ms; after 100 ms without them, they are expected in 4 times what is overdue."""
    nearly = replace(START, left_bytes=1000, elapsed_ms=320)
    assert remaining_ms(nearly) == pytest.approx(15 + 0.8)
    assert remaining_ms(replace(nearly, silent_ms=10)) < 30  # jitter
    assert remaining_ms(replace(nearly, silent_ms=100)) == pytest.approx(15 + 4 * (100 - 0.8 - 10))


def test_the_receiver_is_not_silent_before_its_next_acknowledgement_is_due() -> None:
    slow = replace(START, left_bytes=1 << 20, pace=Pace(n_bytes=100, ms=1), silent_ms=150)  # 16 KiB in 164 ms
    by_pace = (1 << 20) * (1 + 150) / 100
    assert remaining_ms(slow) == pytest.approx(15 + by_pace)
    patient = replace(
        slow, left_bytes=60 << 10, pace=Pace(n_bytes=60 << 10, ms=614), step_bytes=60 << 10, silent_ms=600
    )
    assert remaining_ms(patient) == pytest.approx(15 + 614 + 600)


def test_what_arrives_corrects_the_rate() -> None:
    half = replace(START, left_bytes=13_000, pace=START.pace.after(13_000, 100), elapsed_ms=100)
    assert 15 + 25 < remaining_ms(half) < 15 + 13_000 / 130
    unknown = replace(half, pace=Pace().after(13_000, 100))
    assert remaining_ms(unknown) == pytest.approx(15 + 13_000 / 130)


def test_a_server_that_is_late_is_late_by_as_much_again() -> None:
    arrived = replace(START, left_bytes=0, elapsed_ms=500)
    assert [remaining_ms(replace(arrived, waiting_ms=ms)) for ms in (0, 10, 15, 40)] == [15, 5, 0, 25]


def test_the_edge_starts_when_it_would_be_done_first() -> None:
    budget, silent = HedgeBudget(), replace(START, elapsed_ms=60, silent_ms=60)
    assert not should_hedge(START, edge_ms=40, margin_ms=5, budget=budget)
    assert should_hedge(silent, edge_ms=40, margin_ms=5, budget=budget)
    assert not should_hedge(silent, edge_ms=200, margin_ms=5, budget=budget)
    assert should_hedge(replace(START, pace=Pace()), edge_ms=1e6, margin_ms=5, budget=budget)


def test_a_time_that_was_accepted_is_waited_for() -> None:
    budget, left = HedgeBudget(), remaining_ms(START)
    assert should_hedge(START, left / 2, 0, budget)
    at_last = (START.elapsed_ms + left) / 1.5
    assert not should_hedge(START, left / 2, 0, budget, accepted_ms=at_last + 1)
    assert should_hedge(START, left / 2, 0, budget, accepted_ms=at_last - 1)


def test_the_budget_allows_a_burst_and_a_share() -> None:
    budget, unknown = HedgeBudget(), replace(START, pace=Pace())
    for _ in range(4):
        assert budget.allows
        budget = budget.after_hedge()
    assert not budget.allows and not should_hedge(unknown, 1, 0, budget)
    hedges = 0
    for _ in range(1000):
        budget = budget.after_frame()
        if budget.allows:
            hedges, budget = hedges + 1, budget.after_hedge()
    assert hedges == pytest.approx(50, abs=1)
    for _ in range(1000):
        budget = budget.after_frame()
    assert budget.tokens == 4


@pytest.mark.parametrize(
    ("edge_ms", "cloud_ms", "after_ms"),
    [(100, 50, 250), (400, 50, 300), (400, 350, 350)],  # a bound from below, of the edge, of what was expected anyway
)
def test_a_rescue_does_not_ask_the_budget(edge_ms: float, cloud_ms: float, after_ms: float) -> None:
    assert rescue_ms(edge_ms, cloud_ms) == after_ms
    broke, silent = replace(HedgeBudget(), tokens=0.0), replace(START, silent_ms=1000)
    for elapsed_ms, starts in ((after_ms, False), (after_ms + 1, True)):
        assert should_hedge(replace(silent, elapsed_ms=elapsed_ms), edge_ms, 5, broke, after_ms) == starts
    on_time = replace(START, elapsed_ms=after_ms + 1)
    assert not should_hedge(on_time, edge_ms, 5, broke, after_ms), "an answer that is about to come is waited for"


@given(left=st.integers(1, 10**7), silent=st.floats(0, 1e5), rate=st.floats(0.1, 1e6))
def test_more_that_has_arrived_and_less_silence_are_never_later(left: int, silent: float, rate: float) -> None:
    now = replace(START, left_bytes=left, pace=Pace.expected(10**7, rate), silent_ms=silent)
    # of what is left, less than a step is due earlier, so that the same silence says more
    more = replace(now, left_bytes=left + now.step_bytes)
    if left >= now.step_bytes:
        assert remaining_ms(now) <= remaining_ms(more)
    assert remaining_ms(now) <= remaining_ms(replace(now, silent_ms=silent + 1))
