"""What online calibration may be asked for."""

from __future__ import annotations

import pytest

from fluxshard.errors import OptionError
from fluxshard.pipeline.calibrating.options import CalibrationOptions


def test_the_budget_is_what_need_not_be_kept() -> None:
    assert CalibrationOptions(alpha=0.9).budget == pytest.approx(0.1)


def test_at_most_3_percent_of_the_frames_are_computed_twice() -> None:
    options = CalibrationOptions(alpha=0.9)
    assert 1 / options.every <= 0.03 and 1 / CalibrationOptions(alpha=0.9, every=34).every <= 0.03


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": float("nan")}, {"alpha": 0.9, "first": 0}, {"alpha": 0.9, "every": 33}],
)
def test_values_that_are_not_allowed(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"{[*wrong][-1]} .*must be"):
        CalibrationOptions(**wrong)  # type: ignore[arg-type]
