"""When the edge starts beside an upload that is late."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.runtime.offload.hedge import HedgeBudget, Progress, remaining_ms, should_hedge

START = Progress(total_bytes=26_000, acked_bytes=0, elapsed_ms=0, silent_ms=0, server_ms=15)


def test_at_first_the_expected_rate_counts() -> None:
    assert remaining_ms(START, 1250) == pytest.approx(15 + 20.8)
    assert remaining_ms(replace(START, elapsed_ms=-20), 1250) == pytest.approx(15 + 20.8)
    assert remaining_ms(START, None) == math.inf


def test_silence_makes_the_answer_unlikely() -> None:
    times = [remaining_ms(replace(START, elapsed_ms=ms, silent_ms=ms), 1250) for ms in (0, 10, 50, 200, 1000)]
    assert times == sorted(times) and times[-1] > 1000


def test_a_stall_near_the_end_is_a_stall() -> None:
    nearly = replace(START, acked_bytes=25_000, elapsed_ms=320, silent_ms=0)
    assert remaining_ms(nearly, 1250) < 30
    assert remaining_ms(replace(nearly, silent_ms=300), 1250) == 15 + 300


def test_what_arrives_corrects_the_rate() -> None:
    half = replace(START, acked_bytes=13_000, elapsed_ms=100)  # 130 bytes per ms, not 1250
    assert 15 + 25 < remaining_ms(half, 1250) < 15 + 13_000 / 130
    assert remaining_ms(half, None) == pytest.approx(15 + 13_000 / 130)
    assert remaining_ms(replace(START, acked_bytes=26_000, elapsed_ms=500), 1250) == 15


def test_the_edge_starts_when_it_would_be_done_first() -> None:
    budget = HedgeBudget()
    assert not should_hedge(START, 1250, edge_ms=40, margin_ms=5, budget=budget)
    assert should_hedge(replace(START, elapsed_ms=60), 1250, edge_ms=40, margin_ms=5, budget=budget)
    assert not should_hedge(replace(START, elapsed_ms=60), 1250, edge_ms=200, margin_ms=5, budget=budget)
    assert should_hedge(START, None, edge_ms=1e6, margin_ms=5, budget=budget)


def test_the_budget_allows_a_burst_and_a_share() -> None:
    budget = HedgeBudget()
    for _ in range(4):
        assert budget.allows
        budget = budget.after_hedge()
    assert not budget.allows and not should_hedge(START, None, 1, 0, budget)
    hedges = 0
    for _ in range(1000):
        budget = budget.after_frame()
        if budget.allows:
            hedges, budget = hedges + 1, budget.after_hedge()
    assert hedges == pytest.approx(50, abs=1)
    for _ in range(1000):
        budget = budget.after_frame()
    assert budget.tokens == 4


@given(total=st.integers(1, 10**7), acked=st.integers(0, 10**7), elapsed=st.floats(0, 1e5), rate=st.floats(0.1, 1e6))
def test_more_that_has_arrived_is_never_later(total: int, acked: int, elapsed: float, rate: float) -> None:
    acked = min(acked, total)
    now = Progress(total_bytes=total, acked_bytes=acked, elapsed_ms=elapsed, silent_ms=0, server_ms=0)
    more = replace(now, acked_bytes=min(total, acked + 1000))
    assert remaining_ms(more, rate) <= remaining_ms(now, rate)
