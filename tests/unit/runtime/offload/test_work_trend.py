"""Work of caches that nobody tests."""

from __future__ import annotations

import pytest

from fluxshard.runtime.offload.work_trend import WorkTrend


def test_everything_is_expected_while_nothing_is_known() -> None:
    assert WorkTrend().at(1) == 1.0 == WorkTrend().at(50)


def test_older_caches_have_more_to_do_but_ever_less_so() -> None:
    trend = WorkTrend().after(1, 0.2)
    assert trend.at(1) == pytest.approx(0.2) and trend.at(16) == pytest.approx(0.4)
    assert trend.at(32) - trend.at(16) < trend.at(16) - trend.at(1)
    assert trend.at(10**6) == 1.0
    assert trend.at(0) == trend.at(1), "right after a frame"


def test_what_an_old_cache_took_says_what_a_young_one_will() -> None:
    assert WorkTrend().after(16, 0.4).at(1) == pytest.approx(0.2)


def test_the_newest_frames_count_most() -> None:
    trend = WorkTrend().after(1, 0.8)
    for _ in range(8):
        trend = trend.after(1, 0.1)
    assert trend.at(1) == pytest.approx(0.1, abs=0.01)
