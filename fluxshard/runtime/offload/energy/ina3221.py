"""Jetson boards: power monitors INA3221, whose power is summed up over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fluxshard.errors import MeterError
from fluxshard.runtime.offload.energy.sysfs import read_number, read_text

_FOLDER = Path("sys/bus/i2c/drivers/ina3221")
_CHANNELS = (1, 2, 3)  # the driver's channels above them are shunt voltages and sums
_TOTAL = "VDD_IN"  # of the whole board, where a board measures it
_SPARE = ("", "NC")
_SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True)
class _Rail:
    """One channel of a monitor."""

    label: str
    millivolts: Path
    milliamperes: Path

    def read_mw(self) -> float:
        """Power.

        Raises:
          OSError: the channel cannot be read.
        """
        return read_number(self.millivolts) * read_number(self.milliamperes) / 1e3

    def is_readable(self) -> bool:
        """Some channels of some boards give errors of input and output."""
        try:
            self.read_mw()
        except OSError:
            return False
        return True


class Ina3221Meter:
    """Energy of a Jetson board, its GPU included: the rail VDD_IN, or where there is none the sum of all rails.

    Rails that cannot be read are left out of the sum, and of the name. A thread reads the power a hundred times a
    second, and so does every read of the energy.

    Args:
      root: of the file system.
      clock: seconds, monotonic.
      in_background: False reads power only where the energy is read, for tests.

    Raises:
      MeterError: there is no such monitor, or it cannot be read.
    """

    period_ms = 20.0
    """Samples of the thread, and as much for the mean that the monitor itself takes."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        clock: Callable[[], float] = time.monotonic,
        in_background: bool = True,
    ) -> None:
        self._rails = _rails(root)
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, float] | None = None  # seconds, milliwatts
        self._total_mj: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._sample()
        if in_background:
            self._thread = threading.Thread(target=self._watch, name="fluxshard-power", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """See `EnergyMeter.name`."""
        return f"INA3221, {' + '.join(rail.label for rail in self._rails)}"

    def read_mj(self) -> float | None:
        """See `EnergyMeter.read_mj`."""
        return self._sample()

    def close(self) -> None:
        """See `EnergyMeter.close`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._sample()

    def _sample(self) -> float | None:
        """Adds what was used since the last sample; the total, None where the power cannot be read now."""
        with self._lock:
            try:
                power_mw = sum(rail.read_mw() for rail in self._rails)
            except OSError:
                return None  # the next sample bridges it
            now = self._clock()
            if self._last is None:
                self._total_mj = 0.0
            else:
                then, before_mw = self._last
                self._total_mj = (self._total_mj or 0.0) + (now - then) * (before_mw + power_mw) / 2
            self._last = now, power_mw
            return self._total_mj


def _rails(root: Path) -> tuple[_Rail, ...]:
    """The rail of the whole board, or else all rails."""
    folder = root / _FOLDER
    found = [
        _Rail(read_text(monitor / f"in{n}_label"), monitor / f"in{n}_input", monitor / f"curr{n}_input")
        for monitor in sorted(folder.glob("*/hwmon/hwmon*"))
        for n in _CHANNELS
    ]
    rails = [rail for rail in found if rail.label not in _SPARE and rail.milliamperes.exists()]
    if not rails:
        raise MeterError(f"INA3221: there is no power monitor in {folder}")
    # the other rails are parts of the total: without it, what they sum up to would be taken for it
    chosen = [rail for rail in rails if rail.label == _TOTAL][:1] or rails
    readable = tuple(rail for rail in chosen if rail.is_readable())
    if not readable:
        raise MeterError(f"INA3221: {', '.join(rail.label for rail in chosen)} cannot be read")
    return readable
