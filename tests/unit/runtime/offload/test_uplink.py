"""The uplink's rate: found from large samples, not misled by small ones, and probed when it is old."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.runtime.offload.uplink import MIN_SAMPLE_BYTES, PROBE_AFTER_S, Uplink

MIB = 1 << 20


def test_the_first_sample_is_the_estimate() -> None:
    assert Uplink().upload_s(1000, 0, 0.0) is None
    uplink = Uplink().after(MIB, 0.5, 10.0)
    assert uplink.bytes_per_s == 2 * MIB and uplink.last_sent_s == 10.0
    assert uplink.upload_s(MIB, MIB, 0.0) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(MIN_SAMPLE_BYTES, 4 * MIB), st.floats(1e4, 1e8)), min_size=1, max_size=20))
def test_the_estimate_lies_between_the_samples(samples: list[tuple[int, float]]) -> None:
    uplink = Uplink()
    for n_bytes, rate in samples:
        uplink = uplink.after(n_bytes, n_bytes / rate, 0.0)
    assert uplink.bytes_per_s is not None
    rates = [rate for _, rate in samples]
    assert min(rates) * 0.999 <= uplink.bytes_per_s <= max(rates) * 1.001


def test_a_change_is_followed_after_a_megabyte() -> None:
    uplink = Uplink().after(MIB, 0.1, 0.0)
    for _ in range(8):
        uplink = uplink.after(MIB // 8, 0.125, 0.0)  # 1 MiB/s
    assert uplink.bytes_per_s == pytest.approx(MIB, rel=0.1)


def test_a_stall_is_no_rate_and_starts_the_mean_anew() -> None:
    """300 kB that should take 0.3 s took 3: the link was away. The next sample says how it is now, whatever it is."""
    stalled = Uplink().after(MIB, 1.0, 0.0).after(300_000, 3.0, 4.0)
    assert stalled.bytes_per_s == MIB and stalled.cut
    for rate in (2.0 * MIB, MIB / 100):
        back = stalled.after(MIB, MIB / rate, 5.0)
        assert back.bytes_per_s == pytest.approx(rate) and not back.cut
    slow = Uplink().after(MIB, 1.0, 0.0).after(MIB, 3.9, 4.0)  # slower, and no stall
    assert not slow.cut and slow.bytes_per_s is not None and MIB / 3.9 < slow.bytes_per_s < MIB


def test_small_uploads_say_that_a_link_is_slow_and_never_that_it_is_fast() -> None:
    known = Uplink().after(MIB, 1.0, 0.0)
    n_bytes = MIN_SAMPLE_BYTES // 2
    assert known.after(n_bytes, n_bytes / (10 * MIB), 0.1).bytes_per_s == MIB
    slow = known.after(n_bytes, 2 * n_bytes / MIB, 0.1).bytes_per_s
    assert slow is not None and slow < MIB
    assert Uplink().after(n_bytes, 1.0, 0.1).bytes_per_s is None


def test_a_stream_of_small_frames_follows_the_link_within_a_second() -> None:
    """20 kB 20 times a second: by their bytes alone, half of the old rate would count for 0.6 s and more."""
    uplink = Uplink().after(MIB, 1.0, 0.0)
    for number in range(1, 21):
        uplink = uplink.after(20_000, 20_000 / (MIB / 3), number / 20)
    assert uplink.bytes_per_s == pytest.approx(MIB / 3, rel=0.15)


def test_one_fast_sample_does_not_hide_a_slow_link() -> None:
    uplink = Uplink().after(MIB, 1.0, 0.0).after(MIB // 4, MIB / 4 / (1000 * MIB), 0.0)
    assert uplink.bytes_per_s is not None and uplink.bytes_per_s < 2.1 * MIB


@pytest.mark.parametrize(("n_bytes", "seconds"), [(100, 1e-6), (MIB, 0.0), (MIB, -1.0), (MIB, math.nan)])
def test_samples_that_say_nothing_about_the_rate(n_bytes: int, seconds: float) -> None:
    uplink = Uplink().after(MIB, 1.0, 0.0).after(n_bytes, seconds, 5.0)
    assert uplink.bytes_per_s == MIB and uplink.last_sent_s == 5.0


def test_an_old_estimate_is_probed_with_what_fills_the_link() -> None:
    assert Uplink().needs_probe(0.0)
    uplink = Uplink().after(MIB, 0.1, 3.0).after_round_trip(0.04)
    assert not uplink.needs_probe(3.0 + PROBE_AFTER_S) and uplink.needs_probe(3.1 + PROBE_AFTER_S)
    assert uplink.probe_bytes() == math.ceil(10 * MIB * 0.04)
    assert Uplink().probe_bytes() == MIN_SAMPLE_BYTES


def test_round_trips_give_the_propagation() -> None:
    uplink = Uplink().after_round_trip(0.05).after_round_trip(0.04).after_round_trip(0.3).after_round_trip(math.nan)
    assert uplink.propagation_s == pytest.approx(0.02)
    assert uplink.after(MIB, 1.0, 0.0).upload_s(0, 0, 0.0) == pytest.approx(0.02)


def test_a_pause_costs_a_slow_start() -> None:
    uplink = Uplink(bytes_per_s=float(MIB), propagation_s=0.02, slow_start_s=0.04, last_sent_s=0.0)
    assert uplink.upload_s(MIB, 0, 0.1) == pytest.approx(1.02)
    assert uplink.upload_s(MIB, 0, 2.0) == pytest.approx(1.06)


def test_an_upload_that_was_given_up_says_how_slow_the_link_is() -> None:
    """A stall of half a second: the next frame must not believe the rate of before, and a full one restores it."""
    uplink = Uplink().after(MIB, 0.1, 1.0).after_cut(300, 0.5, 2.0)
    assert uplink.bytes_per_s == 600 and uplink.cut and uplink.last_sent_s == 2.0
    assert uplink.after(100, 0.001, 3.0).bytes_per_s == 600
    back = uplink.after(MIB, 0.125, 4.0)
    assert back.bytes_per_s == 8 * MIB and not back.cut
    assert Uplink().after(MIB, 1.0, 0.0).after_cut(10 * MIB, 1.0, 1.0).bytes_per_s == MIB  # no faster than known
    assert Uplink().after_cut(0, 0.5, 1.0).bytes_per_s == 2
    assert Uplink().after_cut(0, 0.0, 1.0) == Uplink()
