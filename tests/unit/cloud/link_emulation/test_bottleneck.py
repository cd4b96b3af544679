import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.link_emulation.bottleneck import Bottleneck
from fluxshard.evaluate.offload.link_trace import LinkTrace

RATES = st.lists(st.floats(0.1, 1000), min_size=1, max_size=5)


def test_a_piece_takes_its_bytes_over_the_rate() -> None:
    way = Bottleneck([8.0, 80.0])
    assert way.send(0.25, 250_000) == pytest.approx(0.5)
    assert way.send(0.3, 250_000) == pytest.approx(0.75)  # behind the first
    assert way.send(0.9, 1_100_000) == pytest.approx(1.1)  # a tenth of a second at each rate
    assert way.queued(1.05) == pytest.approx(500_000)
    assert way.queued(1.2) == 0


@given(RATES, st.floats(0, 20), st.integers(1, 10_000_000))
def test_alone_it_is_the_replayed_trace(mbps: list[float], at_s: float, n_bytes: int) -> None:
    expected = LinkTrace("t", tuple(mbps)).arrival_ms(1e3 * at_s, n_bytes) / 1e3
    assert Bottleneck(mbps).send(at_s, n_bytes) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(RATES, st.lists(st.tuples(st.floats(0, 1), st.integers(1, 1_000_000)), min_size=1, max_size=8))
def test_what_is_queued_is_what_has_come_less_what_is_through(
    mbps: list[float], pieces: list[tuple[float, int]]
) -> None:
    way, now, last = Bottleneck(mbps), 0.0, 0.0
    for gap, n_bytes in pieces:
        now += gap
        before = way.queued(now)
        through = way.send(now, n_bytes)
        assert through >= last and through > now
        assert way.queued(now) == pytest.approx(before + n_bytes, rel=1e-6, abs=1e-3)
        last = through
    assert way.queued(last + 1e-9) == pytest.approx(0, abs=1)
