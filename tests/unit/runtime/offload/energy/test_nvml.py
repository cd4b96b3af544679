"""NVML: the GPU's own counter, and GPUs that have none."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from fluxshard.errors import MeterError
from fluxshard.runtime.offload.energy.nvml import NvmlMeter


class NVMLError(Exception):
    """Of the fake library."""


class FakeNvml(ModuleType):
    """Takes the place of pynvml."""

    NVMLError = NVMLError

    def __init__(self, *, answers: bool = True, counts: bool = True) -> None:
        super().__init__("pynvml")
        self.answers, self.counts, self.energy_mj, self.open = answers, counts, 5_000, 0
        self.asked = ""

    def nvmlInit(self) -> None:
        if not self.answers:
            raise NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked = uuid
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if not self.counts:
            raise NVMLError("Not Supported")
        assert handle == "handle"
        return self.energy_mj


@pytest.mark.parametrize("uuid", ["1234-ab", "GPU-1234-ab"])
def test_energy_since_the_meter_was_opened(uuid: str) -> None:
    library = FakeNvml()
    meter = NvmlMeter(uuid, library)
    assert library.asked == "GPU-1234-ab" and meter.read_mj() == 0.0
    library.energy_mj += 1_250
    assert meter.read_mj() == 1_250.0
    library.counts = False
    assert meter.read_mj() is None
    meter.close()
    assert library.open == 0


def test_a_gpu_without_a_counter_is_no_meter() -> None:
    """As on Jetson boards, where the library answers and the counter does not exist."""
    library = FakeNvml(counts=False)
    with pytest.raises(MeterError, match=r"no energy counter \(Not Supported\)"):
        NvmlMeter("1", library)
    assert library.open == 0


def test_a_driver_that_does_not_answer() -> None:
    with pytest.raises(MeterError, match="driver does not answer"):
        NvmlMeter("1", FakeNvml(answers=False))


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MeterError, match="nvidia-ml-py is not installed"):
        NvmlMeter("1")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    NvmlMeter("1").close()
