"""What a stream learns of an endpoint: first times without a profile, drift with one, and quantiles of its errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.runtime.offload.latency_model import MIN_SAMPLES, Sample, fit
from fluxshard.runtime.offload.online_latency import OnlineLatency, Quantiles


def model(base: float = 4, slope: float = 30):
    return fit([Sample(work=(share,), ms=base + slope * share) for share in np.linspace(0, 1, 40).tolist()])


def test_nothing_is_known_until_enough_frames_were_measured() -> None:
    known = OnlineLatency()
    for n in range(MIN_SAMPLES):
        assert known.predict_ms((0.5,)) is None
        known = known.after((n / MIN_SAMPLES,), 5 + 20 * n / MIN_SAMPLES)
    assert known.predict_ms((0.5,)) == pytest.approx(15, rel=0.2) and not known.profiled


def test_a_machine_that_gets_slower_is_followed() -> None:
    known = OnlineLatency.from_profile(model())
    assert known.predict_ms((0.5,)) == pytest.approx(19, rel=0.05)
    for _ in range(60):
        known = known.after((0.5,), 38.0)
    assert known.predict_ms((0.5,)) == pytest.approx(38, rel=0.05)
    assert known.predict_ms((0.1,)) == pytest.approx(14, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_a_whole_frame_is_not_guessed_from_small_ones(seed: int) -> None:
    """A line through frames that are all alike but for noise went up to a thousand times what a whole frame takes."""
    rng, known = np.random.default_rng(seed), OnlineLatency().after((1.0,), 60.0)
    for _ in range(500):
        share = float(rng.choice([0.15, 0.155, 0.16]))
        known = known.after((share,), float((4 + 56 * share) * np.exp(0.3 * rng.standard_normal())))
        if known.model is not None:
            assert 40 < (known.predict_ms((1.0,)) or 0.0) < 80
    assert len(known.recent) == 64
    for _ in range(80):  # the machine is twice as slow now, and whole frames come again
        known = known.after((0.95 + 0.05 * rng.random(),), 120.0)
    assert known.predict_ms((1.0,)) == pytest.approx(120, rel=0.1)


def test_states_are_values() -> None:
    before = OnlineLatency.from_profile(model())
    after = before.after((0.5,), 100.0)
    assert before.drift == 1.0 and after.drift > 1.0 and before.frames == 0 and after.frames == 1


@pytest.mark.parametrize("ms", [0.0, -1.0, math.nan, math.inf])
def test_times_that_say_nothing(ms: float) -> None:
    known = OnlineLatency.from_profile(model())
    assert known.after((0.5,), ms) is known


@given(seed=st.integers(0, 2**31), scale=st.floats(0.05, 0.6))
def test_a_share_of_ratios_lies_below_each_quantile(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    quantiles, below = Quantiles(), np.zeros(2)
    for number in range(4000):
        ratio = float(np.exp(scale * rng.standard_normal()))
        if number >= 1000:
            below += [ratio <= quantiles.median, ratio <= quantiles.q95]
        quantiles = quantiles.after(ratio)
    assert below[0] / 3000 == pytest.approx(0.5, abs=0.06)
    assert below[1] / 3000 == pytest.approx(0.95, abs=0.03)


def test_quantiles_follow_a_change() -> None:
    quantiles = Quantiles()
    for _ in range(200):
        quantiles = quantiles.after(4.0)
    assert quantiles.median == pytest.approx(4, rel=0.1) and quantiles.q95 >= quantiles.median
    assert Quantiles().after(math.nan) == Quantiles() and Quantiles().after(0.0) == Quantiles()
