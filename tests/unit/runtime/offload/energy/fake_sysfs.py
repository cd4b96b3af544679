"""Attribute files as the kernel has them, below a directory of a test."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, value: object) -> Path:
    """One attribute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")
    return path


def rapl_zone(root: Path, zone: str, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    """A zone of powercap; returns its counter."""
    folder = root / "sys/class/powercap" / zone
    write(folder / "name", name)
    write(folder / "max_energy_range_uj", range_uj)
    return write(folder / "energy_uj", energy_uj)


def ina_channel(root: Path, monitor: str, n: int, label: str, millivolts: int, milliamperes: int) -> Path:
    """A channel of a power monitor; returns the file of its current."""
    folder = root / "sys/bus/i2c/drivers/ina3221" / monitor / "hwmon" / f"hwmon{int(monitor[-1])}"
    write(folder / f"in{n}_label", label)
    write(folder / f"in{n}_input", millivolts)
    return write(folder / f"curr{n}_input", milliamperes)
