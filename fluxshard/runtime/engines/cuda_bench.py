"""Memory and time of a device, for measuring kernels alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.runtime.engines.cuda_device import Device

_ROUNDS, _REPEATS = 5, 10


class DeviceBench:
    """See `codegen.cuda.tune.Bench`.

    Args:
      device: what is measured.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._blocks: list[Tensor] = []

    def allocate(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """See `Bench.allocate`."""
        self._blocks.clear()  # before the next are taken: both would not fit where one nearly fills the device
        self._blocks += map(self._device.zeros, sizes)
        return tuple(block.data_ptr() for block in self._blocks)

    def write(self, address: int, array: NDArray[np.generic]) -> None:
        """See `Bench.write`."""
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for block in self._blocks:
            at = address - block.data_ptr()
            if at >= 0 and at + flat.size <= block.numel():
                self._device.write(block[at : at + flat.size], flat)
                return
        raise AssertionError(f"{address} is in none of the blocks")

    def time_ms(self, launch: Callable[[int], None]) -> float:
        """See `Bench.time_ms`: the median of rounds of several launches."""
        cuda_stream = self._device.cuda_stream()
        launch(cuda_stream)
        times = []
        for _ in range(_ROUNDS):
            started, start = time.perf_counter(), self._device.event()
            for _ in range(_REPEATS if self._device.captures else 1):
                launch(cuda_stream)
            end = self._device.event()
            times.append(self._device.elapsed_ms(start, end, (time.perf_counter() - started) * 1e3))
        return statistics.median(times)
