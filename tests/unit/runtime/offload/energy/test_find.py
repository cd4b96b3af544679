"""Which meter is taken, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fluxshard.runtime.offload.energy import find_meter, search_meters
from tests.unit.runtime.offload.energy.fake_sysfs import ina_channel, rapl_zone


def test_a_board_is_counted_whole_before_anything_else(tmp_path: Path) -> None:
    ina_channel(tmp_path, "1-0040", 1, "VDD_IN", 5_000, 1_000)
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    for gpu_uuid in (None, "1234"):
        found = search_meters(tmp_path, gpu_uuid=gpu_uuid)
        assert found.meter is not None and found.meter.name == "INA3221, VDD_IN" and found.reasons == ()
        found.meter.close()


def test_a_processor_is_counted_by_rapl(tmp_path: Path) -> None:
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = find_meter(tmp_path)
    assert meter is not None and meter.name.startswith("RAPL") and meter.read_mj() == 0
    meter.close()


def test_a_processor_is_not_taken_for_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    rapl_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    found = search_meters(tmp_path, gpu_uuid="1234")
    assert found.meter is None and [reason.partition(":")[0] for reason in found.reasons] == ["INA3221", "NVML"]


def test_reasons_are_kept(tmp_path: Path) -> None:
    found = search_meters(tmp_path)
    assert found.meter is None and find_meter(tmp_path) is None
    assert [reason.partition(":")[0] for reason in found.reasons] == ["INA3221", "RAPL"]
