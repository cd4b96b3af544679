"""The number of workers follows the measured load, slowly and within its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.cluster.placement.scaling import ScaleOptions, Scaler
from fluxshard.errors import OptionError

OPTIONS = ScaleOptions(least=1, most=4, high=0.75, low=0.5, out_s=5.0, in_s=60.0)


def test_one_more_after_a_while_of_high_load() -> None:
    scaler = Scaler(OPTIONS)
    assert scaler.wanted([0.9], 0, 0.0) == 1
    assert scaler.wanted([0.9], 0, 4.9) == 1
    assert scaler.wanted([0.9], 0, 5.0) == 2
    assert scaler.wanted([0.9], 1, 5.1) == 2, "the one that starts is waited for: 0.9 is not much for two"
    assert scaler.wanted([0.9, 0.8], 0, 20.0) == 2
    assert scaler.wanted([0.2, 0.2], 0, 21.0) == 2
    assert scaler.wanted([0.9, 0.8], 0, 22.0) == 2, "the load was low in between"


def test_one_less_where_the_others_can_take_its_streams() -> None:
    scaler = Scaler(OPTIONS)
    assert [scaler.wanted([0.3, 0.1, 0.2], 0, t) for t in (0.0, 30.0, 60.0)] == [3, 3, 2]
    assert [scaler.wanted([0.6, 0.5], 0, t) for t in (100.0, 200.0, 300.0)] == [2, 2, 2]
    assert [scaler.wanted([0.0], 0, t) for t in (400.0, 500.0)] == [1, 1]


def test_what_is_missing_is_wanted_at_once() -> None:
    scaler = Scaler(ScaleOptions(least=3, most=5))
    assert scaler.wanted([0.1], 0, 0.0) == 3 and scaler.wanted([0.1], 2, 0.0) == 3


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 6), st.integers(0, 2)), max_size=50))
def test_it_stays_within_its_limits_and_goes_by_single_steps(steps: list[tuple[float, int, int]]) -> None:
    scaler = Scaler(OPTIONS)
    for second, (load, count, starting) in enumerate(steps):
        wanted = scaler.wanted([load] * count, starting, 30.0 * second)
        assert OPTIONS.least <= wanted <= OPTIONS.most
        if OPTIONS.least <= count + starting <= OPTIONS.most:
            assert abs(wanted - count - starting) <= 1


@pytest.mark.parametrize(
    "changes", [{"least": 0}, {"least": 3, "most": 2}, {"low": 0.8}, {"high": 1.5}, {"out_s": -1.0}]
)
def test_options_that_are_not_allowed(changes: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        ScaleOptions(**changes)  # type: ignore[arg-type]
