"""What is expected of the next frames, from those before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.pipeline.carrying.error_history import ErrorHistory


def test_nothing_is_expected_of_what_is_hardly_known() -> None:
    history = ErrorHistory()
    assert history.predict(1) is None
    history.add(0.1, 1)
    assert history.predict(1) is None
    history.add(0.1, 1)
    assert history.predict(1) == pytest.approx(0.1)


def test_errors_grow_with_the_frames_between() -> None:
    history = ErrorHistory()
    history.add(0.02, 1)
    history.add(0.06, 3)
    assert [history.predict(age) for age in (1, 2, 5)] == pytest.approx([0.02, 0.04, 0.1])


def test_a_bad_frame_in_four_is_heeded_and_old_ones_are_forgotten() -> None:
    history = ErrorHistory()
    for value in (0.0, 0.2, 0.2, 0.0, 0.0, 0.0, 0.2, 0.0):
        history.add(value, 1)
    assert history.predict(1) == pytest.approx(0.2)
    for _ in range(8):
        history.add(0.01, 1)
    assert history.predict(1) == pytest.approx(0.01)
    history.clear()
    assert history.predict(1) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_it_is_the_quantile_that_is_expected(values: list[float]) -> None:
    history = ErrorHistory()
    for value in values:
        history.add(value, 1)
    assert history.predict(3) == pytest.approx(3 * float(np.quantile(values, 0.75)))
