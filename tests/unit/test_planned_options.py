"""Less work or more accuracy from one factor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import OptionError
from fluxshard.options import LevelOptions, PlannedOptions

SHIPPED = PlannedOptions()


def test_one_changes_nothing() -> None:
    assert SHIPPED.scaled(1) == SHIPPED


def test_above_one_thresholds_are_multiplied() -> None:
    doubled = SHIPPED.scaled(2)
    assert (doubled.tau, doubled.tau_waiting, doubled.tau_stray) == (0.04, 0.2, 0.4)
    assert doubled.tau_small == 0.02 and doubled.dilation == 0
    huge = SHIPPED.scaled(1000)
    assert huge.tau_background == huge.tau_waiting == huge.tau_stray == 1 and huge.wait_frames == SHIPPED.wait_frames


def test_below_one_masks_are_dilated_and_thresholds_near_objects_follow() -> None:
    strict = SHIPPED.scaled(0.5)
    assert (strict.tau, strict.tau_small, strict.dilation) == (0.04, 0.02, 1)
    assert (strict.tau_background, strict.tau_waiting, strict.tau_stray) == (0.4, 0.1, 0.2)
    own = PlannedOptions(dilation=1, levels={8: LevelOptions(dilation=2), 4: LevelOptions(gain=3.0)}).scaled(0.25)
    assert own.dilation == 2 and own.tau == SHIPPED.tau
    assert own.levels == {8: LevelOptions(dilation=3), 4: LevelOptions(gain=3.0)}


@given(st.floats(0.01, 100))
def test_what_is_left_out_stays_left_out(scale: float) -> None:
    scaled = PlannedOptions(tau_background=None, tau_small=None).scaled(scale)
    assert scaled.tau_background is None and scaled.tau_small is None


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_factors_that_are_not_allowed(scale: float) -> None:
    with pytest.raises(OptionError, match="scale"):
        SHIPPED.scaled(scale)
