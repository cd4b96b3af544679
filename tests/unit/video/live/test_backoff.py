"""Delays that grow, up to a largest, with a random part left out."""

from __future__ import annotations

import random

import pytest

from fluxshard.video.live.backoff import Backoff


class Always(random.Random):
    """Chance that gives one value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_delays_double_up_to_the_largest(chance: float, share: float) -> None:
    backoff = Backoff(0.5, 3.0, Always(chance))
    assert [backoff.delay_s() for _ in range(5)] == [share * delay for delay in (0.5, 1.0, 2.0, 3.0, 3.0)]
    backoff.reset()
    assert backoff.delay_s() == share * 0.5


def test_two_sources_do_not_meet() -> None:
    one, other = Backoff(1, 8), Backoff(1, 8)
    pairs = [(one.delay_s(), other.delay_s()) for _ in range(20)]
    assert len({round(a - b, 6) for a, b in pairs}) > 10
    assert all(4 <= delay <= 8 for pair in pairs[3:] for delay in pair)
