"""Jetson boards: the total or the rails, never both; power summed up over time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fluxshard.errors import MeterError
from fluxshard.runtime.offload.energy.ina3221 import Ina3221Meter
from tests.unit.runtime.offload.energy.fake_sysfs import ina_channel, write


class Clock:
    """Seconds that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def meter_of(root: Path) -> tuple[Ina3221Meter, Clock]:
    clock = Clock()
    return Ina3221Meter(root, clock=clock, in_background=False), clock


def test_the_rail_of_the_whole_board_counts_alone(tmp_path: Path) -> None:
    ina_channel(tmp_path, "1-0040", 1, "VDD_IN", 5_000, 2_000)  # 10 W
    ina_channel(tmp_path, "1-0040", 2, "VDD_CPU_GPU_CV", 5_000, 900)
    ina_channel(tmp_path, "1-0040", 3, "VDD_SOC", 5_000, 500)
    meter, clock = meter_of(tmp_path)
    assert meter.read_mj() == 0 and meter.name == "INA3221, VDD_IN"
    clock.now_s += 0.5
    assert meter.read_mj() == pytest.approx(5_000)


def test_rails_are_summed_up_where_there_is_no_total(tmp_path: Path) -> None:
    ina_channel(tmp_path, "1-0040", 1, "VDD_GPU_SOC", 10_000, 300)  # 3 W
    ina_channel(tmp_path, "1-0040", 2, "NC", 10_000, 300)
    ina_channel(tmp_path, "1-0041", 1, "VDD_CPU_CV", 5_000, 200)  # 1 W
    ina_channel(tmp_path, "1-0041", 4, "sum of currents", 5_000, 9_000)  # no channel
    meter, clock = meter_of(tmp_path)
    clock.now_s += 2
    assert meter.read_mj() == pytest.approx(8_000)
    assert meter.name == "INA3221, VDD_GPU_SOC + VDD_CPU_CV"


def test_power_that_changes_is_taken_at_its_mean(tmp_path: Path) -> None:
    current = ina_channel(tmp_path, "1-0040", 1, "VDD_IN", 5_000, 1_000)  # 5 W
    meter, clock = meter_of(tmp_path)
    write(current, 3_000)  # 15 W
    clock.now_s += 0.1
    assert meter.read_mj() == pytest.approx(1_000)


def test_a_channel_that_fails_meanwhile_is_no_sample_and_is_bridged(tmp_path: Path) -> None:
    current = ina_channel(tmp_path, "1-0040", 1, "VDD_IN", 5_000, 1_000)
    meter, clock = meter_of(tmp_path)
    write(current, "input/output error")
    clock.now_s += 0.1
    assert meter.read_mj() is None
    write(current, 1_000)
    clock.now_s += 0.1
    assert meter.read_mj() == pytest.approx(1_000)


def test_rails_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    ina_channel(tmp_path, "1-0040", 1, "VDD_GPU_SOC", 10_000, 300)
    write(ina_channel(tmp_path, "1-0040", 2, "VDD_CPU_CV", 10_000, 300), "?")
    meter, clock = meter_of(tmp_path)
    clock.now_s += 1
    assert meter.read_mj() == pytest.approx(3_000) and meter.name == "INA3221, VDD_GPU_SOC"


def test_a_total_that_cannot_be_read_is_not_replaced_by_its_parts(tmp_path: Path) -> None:
    write(ina_channel(tmp_path, "1-0040", 1, "VDD_IN", 5_000, 2_000), "?")
    ina_channel(tmp_path, "1-0040", 2, "VDD_CPU_GPU_CV", 5_000, 900)
    with pytest.raises(MeterError, match="VDD_IN cannot be read"):
        meter_of(tmp_path)


def test_without_a_monitor_there_is_no_meter(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="INA3221: there is no power monitor"):
        meter_of(tmp_path)


def test_a_thread_reads_the_power_until_the_meter_is_closed(tmp_path: Path) -> None:
    ina_channel(tmp_path, "1-0040", 1, "VDD_IN", 5_000, 1_000)
    read = threading.Event()
    ticks = iter(range(1_000_000))

    def clock() -> float:
        now = next(ticks)
        if now > 3:
            read.set()
        return float(now)

    with Ina3221Meter(tmp_path, clock=clock) as meter:
        assert read.wait(30)
        before = threading.active_count()
        found = meter.read_mj()
        assert found is not None and found >= 4 * 5_000  # 5 W for each tick
    assert threading.active_count() == before - 1
    meter.close()
