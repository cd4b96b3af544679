"""The factor on the thresholds, against errors that are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.pipeline.calibrating.threshold_scale import LEAST, MOST, ThresholdScale

ERRORS = st.lists(st.floats(0, 1), max_size=12)


@pytest.mark.parametrize(("budget", "start"), [(0.01, LEAST), (0.05, 0.5), (0.1, 1.0), (0.4, 1.0)])
def test_it_starts_careful_and_never_above_the_shipped_thresholds(budget: float, start: float) -> None:
    assert ThresholdScale(budget).value == pytest.approx(start)


@pytest.mark.parametrize(("per_scale", "wanted"), [(0.1, 0.8), (0.2, 0.4), (0.05, 1.6), (0.01, MOST), (0.9, LEAST)])
def test_it_finds_the_scale_that_meets_the_budget_where_errors_are_in_proportion(
    per_scale: float, wanted: float
) -> None:
    scale = ThresholdScale(0.08)
    for _ in range(6):
        scale.take(per_scale * scale.value)
    assert scale.value == pytest.approx(wanted)


def test_it_steps_down_faster_than_up() -> None:
    up, down = ThresholdScale(0.1), ThresholdScale(0.1)
    up.take(0.0)
    down.take(1.0)
    assert 1 < up.value < 2 and down.value < 0.5


@given(ERRORS, st.floats(0.001, 0.999))
def test_it_stays_within_what_was_tried(errors: list[float], budget: float) -> None:
    scale = ThresholdScale(budget)
    for error in errors:
        scale.take(error)
        assert LEAST <= scale.value <= MOST


@given(ERRORS, st.floats(0.001, 0.999), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_error_never_leads_to_a_larger_scale(
    errors: list[float], budget: float, one: float, two: float
) -> None:
    scales = []
    for last in sorted((one, two)):
        scale = ThresholdScale(budget)
        for error in [*errors, last]:
            scale.take(error)
        scales.append(scale.value)
    assert scales[0] >= scales[1]
