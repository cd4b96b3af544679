"""Power of a device at rest, from its energy meter."""

from __future__ import annotations

import time
from collections.abc import Callable

from fluxshard.runtime.offload.energy import EnergyMeter

_UPDATES = 20  # of a meter
_LEAST_S = 0.5


def rest_power_mw(
    meter: EnergyMeter,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float | None:
    """Mean power while this program does nothing: for twenty updates of the meter, and half a second at least.

    Args:
      meter: open.
      clock: seconds, monotonic.
      sleep: waits seconds.

    Returns:
      milliwatts; None where the meter has no sample.
    """
    started, before = clock(), meter.read_mj()
    sleep(max(_LEAST_S, _UPDATES * meter.period_ms / 1e3))
    after, seconds = meter.read_mj(), clock() - started
    if before is None or after is None or seconds <= 0:
        return None
    return (after - before) / seconds
