"""GPUs of NVIDIA: the driver's energy counter (NVML), on Volta and later; not on Jetson boards."""

from __future__ import annotations

import importlib
from types import ModuleType

from fluxshard.errors import MeterError


class NvmlMeter:
    """Energy of one GPU, its memory included.

    Args:
      uuid: of the GPU, with or without "GPU-": numbers differ between NVML and what CUDA_VISIBLE_DEVICES leaves.
      library: the module pynvml; None imports it.

    Raises:
      MeterError: the package nvidia-ml-py or the driver is missing, or the GPU has no counter.
    """

    period_ms = 100.0
    """The driver updates its power readings at 10 to 50 Hz, depending on the GPU."""

    def __init__(self, uuid: str, library: ModuleType | None = None) -> None:
        self._library = library or _library()
        try:
            self._library.nvmlInit()
        except self._library.NVMLError as error:
            raise MeterError(f"NVML: the driver does not answer ({error})") from error
        try:
            self._handle = self._library.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
            self._start_mj = int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._library.NVMLError as error:
            self._library.nvmlShutdown()
            raise MeterError(f"NVML: this GPU has no energy counter ({error})") from error

    @property
    def name(self) -> str:
        """See `EnergyMeter.name`."""
        return "NVML, GPU"

    def read_mj(self) -> float | None:
        """See `EnergyMeter.read_mj`."""
        try:
            return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle) - self._start_mj)
        except self._library.NVMLError:
            return None

    def close(self) -> None:
        """See `EnergyMeter.close`."""
        self._library.nvmlShutdown()


def _library() -> ModuleType:
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise MeterError("NVML: the package nvidia-ml-py is not installed: pip install 'fluxshard[energy]'") from error
