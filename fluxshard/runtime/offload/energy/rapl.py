"""Processors of Intel and AMD: the kernel's powercap counters (RAPL)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fluxshard.errors import MeterError
from fluxshard.runtime.offload.energy.sysfs import read_number, read_text

_FOLDER = Path("sys/class/powercap")
_ZONE = re.compile(r"intel-rapl:\d+")  # not its parts (intel-rapl:0:0), and not intel-rapl-mmio, which counts it twice


@dataclass(slots=True, eq=False)
class _Zone:
    """One package: its counter, where that starts anew, and what was read last."""

    counter: Path
    range_uj: int
    last_uj: int


class RaplMeter:
    """Energy of all processor packages; memory and other parts of the machine are not counted.

    A counter that starts anew is noticed once between two reads: it does so after about an hour at most power.

    Args:
      root: of the file system.

    Raises:
      MeterError: there is no package, or its counter may not be read.
    """

    period_ms = 1.0
    """Source: Intel SDM vol. 3B, 16.10: counters are updated about every millisecond."""

    def __init__(self, root: Path = Path("/")) -> None:
        packages: dict[str, _Zone] = {}
        for zone in sorted((root / _FOLDER).glob("intel-rapl:*")):
            name = read_text(zone / "name")
            if not _ZONE.fullmatch(zone.name) or not name.startswith("package") or name in packages:
                continue
            try:
                counter = zone / "energy_uj"
                packages[name] = _Zone(counter, read_number(zone / "max_energy_range_uj"), read_number(counter))
            except PermissionError:
                raise MeterError(
                    f"RAPL: {counter} may be read by root only: run as root, or let your group read it"
                ) from None
            except OSError as error:
                raise MeterError(f"RAPL: {zone} cannot be read ({error})") from error
        if not packages:
            raise MeterError(f"RAPL: there is no processor package in {root / _FOLDER}")
        self._zones = tuple(packages.values())
        self._total_uj = 0

    @property
    def name(self) -> str:
        """See `EnergyMeter.name`."""
        count = len(self._zones)
        return f"RAPL, {count} processor package{'s' if count > 1 else ''}"

    def read_mj(self) -> float | None:
        """See `EnergyMeter.read_mj`."""
        try:
            now = [read_number(zone.counter) for zone in self._zones]
        except OSError:
            return None  # what was used meanwhile is in the next read
        for zone, uj in zip(self._zones, now, strict=True):
            used = uj - zone.last_uj
            self._total_uj += used if used >= 0 else used + zone.range_uj
            zone.last_uj = uj
        return self._total_uj / 1e3

    def close(self) -> None:
        """See `EnergyMeter.close`: nothing is open."""
