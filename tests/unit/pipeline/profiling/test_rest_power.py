"""Power at rest: a difference of the meter over a time that it can tell."""

from __future__ import annotations

import pytest

from fluxshard.pipeline.profiling.rest_power import rest_power_mw


class Meter:
    """Counts what a device of constant power uses."""

    name = "meter"

    def __init__(self, power_mw: float, period_ms: float, missing: int | None = None) -> None:
        self.now, self.period_ms, self._power_mw, self._missing, self._reads = 0.0, period_ms, power_mw, missing, 0

    def read_mj(self) -> float | None:
        self._reads += 1
        return None if self._reads - 1 == self._missing else self._power_mw * self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def close(self) -> None: ...


@pytest.mark.parametrize(("period_ms", "seconds"), [(1.0, 0.5), (100.0, 2.0)])
def test_it_waits_for_many_updates(period_ms: float, seconds: float) -> None:
    meter = Meter(4650.0, period_ms)
    assert rest_power_mw(meter, clock=lambda: meter.now, sleep=meter.sleep) == pytest.approx(4650.0)
    assert meter.now == pytest.approx(seconds)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_meter_without_a_sample(missing: int) -> None:
    meter = Meter(4650.0, 1.0, missing)
    assert rest_power_mw(meter, clock=lambda: meter.now, sleep=meter.sleep) is None
