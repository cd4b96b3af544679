"""Latency as a function of work: it rises, it fits what it was fitted to, and says how well it does on other frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import ProfileError
from fluxshard.runtime.offload.latency_model import MIN_SAMPLES, LatencyModel, Sample, fit


def samples_of(function, n: int = 60, kinds: int = 1, noise: float = 0.0, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    work = rng.random((n, kinds))
    return [
        Sample(work=tuple(map(float, one)), ms=float(function(one) * (1 + noise * rng.standard_normal())))
        for one in work
    ]


def test_a_line_is_found_again() -> None:
    model = fit(samples_of(lambda work: 4 + 30 * work[0]))
    for work in (0.1, 0.5, 0.9):
        assert model.predict_ms((work,)) == pytest.approx(4 + 30 * work, rel=0.05)
    assert model.error < 0.02 and model.samples == 60


def test_a_curve_is_followed() -> None:
    """Small work wins little: a floor, then a line that gets steeper."""

    def latency(work: np.ndarray) -> float:
        return max(6.0, 4 + 20 * work[0] + 20 * work[0] ** 2)

    model = fit(samples_of(latency, 200))
    for work in (0.02, 0.3, 0.6, 0.95):
        assert model.predict_ms((work,)) == pytest.approx(latency(np.array([work])), rel=0.1)


def test_several_kinds_of_work_have_slopes_of_their_own() -> None:
    model = fit(samples_of(lambda work: 5 + 10 * work[0] + 40 * work[1] + 0 * work[2], 200, 3, noise=0.03))
    assert model.error < 0.05
    assert model.predict_ms((0.1, 0.9, 0.5)) == pytest.approx(42, rel=0.1)
    assert model.predict_ms((0.9, 0.1, 0.5)) == pytest.approx(18, rel=0.1)


def test_the_error_is_that_of_frames_that_were_left_out() -> None:
    """Times that have nothing to do with the work cannot be predicted, however well they are remembered."""
    rng = np.random.default_rng(1)
    model = fit([Sample(work=(float(rng.random()),), ms=float(rng.choice([10.0, 30.0]))) for _ in range(100)])
    assert model.error > 0.2


@given(
    seed=st.integers(0, 2**31), kinds=st.integers(1, 4), n=st.integers(MIN_SAMPLES, 60), noise=st.floats(0, 0.5),
    share=st.floats(0, 1), more=st.floats(0, 1),
)  # fmt: skip
def test_more_work_never_takes_less_time(
    seed: int, kinds: int, n: int, noise: float, share: float, more: float
) -> None:
    rng = np.random.default_rng(seed)
    slopes = rng.random(kinds) * 30
    frames = [
        Sample(work=tuple(one.tolist()), ms=max(0.1, float(3 + one @ slopes + noise * 20 * rng.standard_normal())))
        for one in rng.random((n, kinds))
    ]
    model = fit(frames)
    low = rng.random(kinds) * share
    high = low + rng.random(kinds) * more
    assert 0 <= model.predict_ms(low.tolist()) <= model.predict_ms(high.tolist()) + 1e-9


def test_equal_work_is_predicted_by_its_median() -> None:
    model = fit([Sample(work=(0.5,), ms=ms) for ms in [10.0] * 9 + [90.0]])
    assert model.predict_ms((0.5,)) < 25


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            [Sample(work=(0.1,), ms=1.0)] * (MIN_SAMPLES - 1),
            "7 frames were measured; .* at least 8",
        ),
        ([Sample(work=(0.1,), ms=1.0)] * 8 + [Sample(work=(0.1, 0.2), ms=1.0)], r"samples have \[1, 2\] kinds of work"),
        ([Sample(work=(0.1,), ms=1.0)] * 8 + [Sample(work=(0.1,), ms=0.0)], "times above 0 ms"),
        ([Sample(work=(0.1,), ms=1.0)] * 8 + [Sample(work=(float("nan"),), ms=1.0)], "finite work"),
    ],
)
def test_what_cannot_be_fitted(samples: list[Sample], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        fit(samples)


def test_work_of_another_policy_is_refused() -> None:
    model = fit(samples_of(lambda work: 4 + 30 * work[0]))
    with pytest.raises(ProfileError, match=r"a frame has 2 kinds of predicted work.*fitted to 1"):
        model.predict_ms((0.1, 0.2))


def test_less_work_than_was_ever_measured_still_takes_time() -> None:
    """A clip whose frames all need much: the steep curve between two of its groups does not reach down to nothing."""
    rng = np.random.default_rng(5)
    samples = []
    for share in rng.uniform(0.4, 0.6, 80):
        ms = 30 + 100 * max(0.0, share - 0.45)  # bent
        samples.append(Sample(work=(float(share),), ms=float(ms * (1 + 0.02 * rng.standard_normal()))))
    model = fit(samples)
    assert model.predict_ms((0.05,)) > 2
    assert model.predict_ms((0.0,)) <= model.predict_ms((0.05,)) <= model.predict_ms((0.4,))


@pytest.mark.parametrize("base_ms", [-1.0, 0.0, 0.5, 3.0])
def test_a_curve_may_begin_where_there_is_no_work(base_ms: float) -> None:
    model = LatencyModel(base_ms=base_ms, slopes_ms=(1.0,), knots=((0.0, 5.0), (1.0, 6.0)), error=0.1, samples=9)
    assert model.predict_ms((0.0,)) == pytest.approx(5 + base_ms)
