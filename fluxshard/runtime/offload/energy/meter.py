"""What an energy meter is."""

from __future__ import annotations

from typing import Protocol


class EnergyMeter(Protocol):
    """Counts the energy that a device uses. Not thread-safe; close it at the end."""

    @property
    def name(self) -> str:
        """What is counted, in a few words."""
        ...

    @property
    def period_ms(self) -> float:
        """Time between two updates of the counter: differences over less than several of them mean little."""
        ...

    def read_mj(self) -> float | None:
        """Energy since the meter was opened, in millijoules; None where there is no sample, never 0 instead."""
        ...

    def close(self) -> None:
        """Stops counting."""
        ...
