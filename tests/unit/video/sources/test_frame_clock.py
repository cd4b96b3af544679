"""Times grow, whatever time stamps do."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from fluxshard.video.sources.frame_clock import FrameClock


def times(stamps: list[int | None], *, base: Fraction | None = Fraction(1, 1000), fps: float | None = 25.0) -> Any:
    clock = FrameClock(base, fps)
    return [clock.time_of(SimpleNamespace(pts=pts), index) for index, pts in enumerate(stamps)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([700, 740, 900], [0, 0.04, 0.2]),  # from the first on, at any distance
        ([None, None, None], [0, 0.04, 0.08]),
        ([0, None, 100, None], [0, 0.04, 0.1, 0.14]),
        ([0, 40, 40, 80], [0, 0.04, 0.08, 0.12]),  # one that stands still moves what follows
        ([5000, 5040, 10, 50], [0, 0.04, 0.08, 0.12]),  # a counter that begins again
        ([None, None, 900, 950], [0, 0.04, 0.08, 0.13]),  # stamps that begin late
    ],
)
def test_times(stamps: list[int | None], expected: list[float]) -> None:
    assert times(stamps) == pytest.approx(expected)


def test_without_a_rate_or_a_time_base() -> None:
    assert times([None, None, None], fps=None) == pytest.approx([0, 1 / 30, 2 / 30])
    assert times([9, 9, 9], base=None) == pytest.approx([0, 0.04, 0.08])
