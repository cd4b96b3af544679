"""Which energy meter counts what an endpoint uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fluxshard.errors import MeterError
from fluxshard.runtime.offload.energy.ina3221 import Ina3221Meter
from fluxshard.runtime.offload.energy.meter import EnergyMeter
from fluxshard.runtime.offload.energy.nvml import NvmlMeter
from fluxshard.runtime.offload.energy.rapl import RaplMeter


@dataclass(frozen=True, slots=True)
class MeterSearch:
    """What a search found.

    Attributes:
      meter: open; None where there is none.
      reasons: why those that were tried before it, or all, do not work: one line each.
    """

    meter: EnergyMeter | None
    reasons: tuple[str, ...] = ()


def search_meters(root: Path = Path("/"), *, gpu_uuid: str | None = None) -> MeterSearch:
    """Opens the meter that counts what a frame uses, and says why others do not work.

    A Jetson board is counted whole. Elsewhere it is the GPU where the network runs on one, else the processor: energy
    of a processor beside a GPU would say nothing of the network.

    Args:
      root: of the file system.
      gpu_uuid: of the GPU that the network runs on; None on the processor.
    """
    tried: list[Callable[[], EnergyMeter]] = [lambda: Ina3221Meter(root)]
    if gpu_uuid is None:
        tried.append(lambda: RaplMeter(root))
    else:
        tried.append(lambda: NvmlMeter(gpu_uuid))
    reasons: list[str] = []
    for make in tried:
        try:
            return MeterSearch(make(), tuple(reasons))
        except MeterError as error:
            reasons.append(str(error))
    return MeterSearch(None, tuple(reasons))


def find_meter(root: Path = Path("/"), *, gpu_uuid: str | None = None) -> EnergyMeter | None:
    """The meter of `search_meters`, open; None where there is none."""
    return search_meters(root, gpu_uuid=gpu_uuid).meter
