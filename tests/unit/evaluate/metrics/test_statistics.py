"""Intervals and losses over clips."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.statistics import bootstrap_interval, loss_interval, relative_loss, worst

values = st.lists(st.floats(0.1, 1), min_size=1, max_size=12)


@given(values, st.integers(0, 9))
def test_the_interval_lies_within_the_values(clips: list[float], seed: int) -> None:
    low, high = bootstrap_interval(clips, seed=seed)
    assert min(clips) - 1e-9 <= low <= high <= max(clips) + 1e-9
    assert bootstrap_interval(clips, seed=seed) == (low, high)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.normal(0.5, 0.1, 20).tolist(), resamples=400, seed=trial)
        hits += low <= 0.5 <= high
    assert 0.85 < hits / 200 < 0.99


def test_losses_are_relative_to_the_dense_mean() -> None:
    assert relative_loss([0.4, 0.5], [0.5, 0.5]) == pytest.approx(0.1)
    assert math.isnan(relative_loss([], [])) and math.isnan(relative_loss([0.1], [0.0]))
    found = worst([0.4, 0.5, 0.1], [0.5, 0.5, 0.0])
    assert found is not None and found[0] == 0 and found[1] == pytest.approx(0.2)
    found = worst([0.5, 0.3, 0.45], [0.5, 0.4, 0.9])  # losses 0, 0.25 and 0.5
    assert found is not None and found[0] == 2 and found[1] == pytest.approx(0.5)
    assert worst([0.1], [0.0]) is None


@given(values, st.floats(0, 0.5))
def test_what_all_clips_lose_alike_is_certain(dense: list[float], loss: float) -> None:
    """Clips are drawn in pairs: that some are hard for both does not widen the interval."""
    low, high = loss_interval([value * (1 - loss) for value in dense], dense)
    assert low == pytest.approx(loss, abs=1e-9) and high == pytest.approx(loss, abs=1e-9)


def test_intervals_of_two_values_worked_out() -> None:
    """Means of 0 and 1 drawn twice: 0 and 1 with chance 1/4 each, 1/2 with chance 1/2."""
    assert bootstrap_interval([0.0, 1.0], resamples=4000) == (0, 1)
    assert bootstrap_interval([0.0, 1.0], confidence=0.4, resamples=4000) == (0.5, 0.5)  # leaves out 30% at each end
    assert bootstrap_interval([0.0, 1.0], confidence=0.6, resamples=4000) == (0, 1)  # 20%
    # losses of the clips: 0 and 1; paired means give 0, 1/2 and 1 alike
    assert loss_interval([1.0, 0.0], [1.0, 1.0], confidence=0.4, resamples=4000) == (0.5, 0.5)


@pytest.mark.parametrize("measure", [relative_loss, loss_interval, worst])
def test_clips_that_only_one_has_are_refused(measure: Callable[[list[float], list[float]], object]) -> None:
    with pytest.raises(EvaluationError, match="1 clips and the dense network of 2"):
        measure([0.5], [0.5, 0.4])


def test_nothing_gives_nan() -> None:
    assert all(map(math.isnan, (*bootstrap_interval([]), *loss_interval([], []))))
