"""One axis of a window, expanded for the sizes of its input and output."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.geometry import Window


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """One axis of a window, expanded for its sizes."""

    window: Window
    n_in: int
    n_out: int
    tap: int
    crosses: int

    @property
    def taps(self) -> int:
        """Largest number of taps of a phase, at least 1."""
        return max(1, *(len(row) for row in self.window.offsets))

    @property
    def edge(self) -> int:
        """The edge rule as maps.h numbers it."""
        return ("constant", "replicate", "reflect", "circular").index(self.window.edge)

    @property
    def slides(self) -> bool:
        """The window moves by whole cells and reads a constant outside, so masks spread by shifting rows."""
        return self.window.out_step == 1 and self.window.in_step > 0 and self.window.edge == "constant"

    @property
    def offsets(self) -> tuple[int, ...]:
        """`(out_step, taps)` flat, padded with zeros."""
        return tuple(x for row in self.window.offsets for x in (*row, *(0,) * (self.taps - len(row))))

    @property
    def counts(self) -> tuple[int, ...]:
        """Taps of each phase."""
        return tuple(len(row) for row in self.window.offsets)
