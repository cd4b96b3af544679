"""How busy other programs keep the processors: what is measured beside them is theirs as well."""

from __future__ import annotations

import os
import time
from pathlib import Path

_IDLE = slice(3, 5)  # idle, and waiting for input or output


class OtherLoad:
    """Share of all processors' time that other programs take, from when it is made.

    Args:
      root: of the file system.
      ticks_per_s: of the kernel's counters.
    """

    def __init__(self, root: Path = Path("/"), ticks_per_s: int | None = None) -> None:
        self._counters = root / "proc/stat"
        self._ticks_per_s = ticks_per_s or os.sysconf("SC_CLK_TCK")
        self._start = self._read()
        self._own_s = time.process_time()

    def share(self) -> float | None:
        """0..1; None where the system does not tell, or no time has passed."""
        now = self._read()
        if now is None or self._start is None:
            return None
        busy, total = (later - earlier for later, earlier in zip(now, self._start, strict=True))
        if total <= 0:
            return None
        own = (time.process_time() - self._own_s) * self._ticks_per_s
        return float(min(1.0, max(0.0, (busy - own) / total)))

    def _read(self) -> tuple[int, int] | None:
        """Ticks of all processors: busy, and all."""
        try:
            name, *fields = self._counters.read_text(encoding="ascii", errors="replace").partition("\n")[0].split()
            ticks = [int(field) for field in fields[:8]]  # what follows is counted in these already
        except (OSError, ValueError):
            return None
        return (sum(ticks) - sum(ticks[_IDLE]), sum(ticks)) if name == "cpu" and len(ticks) == 8 else None
