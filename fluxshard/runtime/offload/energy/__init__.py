"""Energy meters: what a device has used, read from its own counters."""

from __future__ import annotations

from fluxshard.runtime.offload.energy.edge_energy import EdgeEnergy
from fluxshard.runtime.offload.energy.find import MeterSearch, find_meter, search_meters
from fluxshard.runtime.offload.energy.meter import EnergyMeter

__all__ = ["EdgeEnergy", "EnergyMeter", "MeterSearch", "find_meter", "search_meters"]
