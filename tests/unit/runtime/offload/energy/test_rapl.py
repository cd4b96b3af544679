"""RAPL: packages once each, counters that start anew, and counters that may not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.errors import MeterError
from fluxshard.runtime.offload.energy.rapl import RaplMeter
from tests.unit.runtime.offload.energy.fake_sysfs import rapl_zone, write


def test_energy_is_that_of_all_packages_since_the_meter_was_opened(tmp_path: Path) -> None:
    first = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 5_000)
    second = rapl_zone(tmp_path, "intel-rapl:1", "package-1", 70_000)
    meter = RaplMeter(tmp_path)
    assert meter.read_mj() == 0
    write(first, 8_000)
    write(second, 72_500)
    assert meter.read_mj() == pytest.approx(5.5)
    assert meter.read_mj() == pytest.approx(5.5)
    assert meter.name == "RAPL, 2 processor packages"
    meter.close()


def test_parts_the_whole_machine_and_doubles_are_left_out(tmp_path: Path) -> None:
    package = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    others = [
        rapl_zone(tmp_path, "intel-rapl:0:0", "core", 0),
        rapl_zone(tmp_path, "intel-rapl:0:1", "dram", 0),
        rapl_zone(tmp_path, "intel-rapl:1", "psys", 0),
        rapl_zone(tmp_path, "intel-rapl:2", "package-0", 0),
        rapl_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    meter = RaplMeter(tmp_path)
    for other in others:
        write(other, 900_000)
    write(package, 2_000)
    assert meter.read_mj() == pytest.approx(2.0) and meter.name == "RAPL, 1 processor package"


def test_a_counter_that_starts_anew(tmp_path: Path) -> None:
    counter = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 999_000, range_uj=1_000_000)
    meter = RaplMeter(tmp_path)
    write(counter, 4_000)
    assert meter.read_mj() == pytest.approx(5.0)
    write(counter, 3_000)  # nearly a whole round
    assert meter.read_mj() == pytest.approx(5.0 + 999.0)


def test_a_read_that_fails_is_no_sample_and_loses_nothing(tmp_path: Path) -> None:
    counter = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter(tmp_path)
    write(counter, "busy")
    assert meter.read_mj() is None
    write(counter, 6_000)
    assert meter.read_mj() == pytest.approx(6.0)


def test_without_packages_there_is_no_meter(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="RAPL: there is no processor package"):
        RaplMeter(tmp_path)
    rapl_zone(tmp_path, "intel-rapl:0", "psys", 0)
    with pytest.raises(MeterError, match="RAPL: there is no processor package"):
        RaplMeter(tmp_path)


def test_a_counter_for_root_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    read = Path.read_text

    def guarded(path: Path, *arguments: object, **named: object) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", guarded)  # tests may run as root, who may read everything
    with pytest.raises(MeterError, match=r"energy_uj may be read by root only"):
        RaplMeter(tmp_path)


def test_a_damaged_counter_is_named(tmp_path: Path) -> None:
    write(rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0), "?")
    with pytest.raises(MeterError, match=r"RAPL: .*intel-rapl:0 cannot be read .*not a number"):
        RaplMeter(tmp_path)
