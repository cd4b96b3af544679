"""Where edges that share a link meet, so that all count frames of the same time."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

READY, ENOUGH = "ready", "enough"


class Meeting:
    """Tells an edge when all have come to a point. Processes leave files; their clock is the machine's.

    Args:
      folder: of all of them, without files of an earlier meeting; an edge alone makes none.
      edge: number of this one, from 0.
      edges: how many there are.
    """

    def __init__(self, folder: Path, edge: int = 0, edges: int = 1) -> None:
        self._folder, self._edge, self._edges = folder, edge, edges
        self._times: dict[tuple[str, int], float] = {}

    def arrive(self, point: str) -> None:
        """This edge is there; again changes nothing."""
        if (point, self._edge) in self._times:
            return
        now = self._times[point, self._edge] = time.monotonic()
        if self._edges > 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._folder / f"{point}-{self._edge}.part"
            part.write_text(repr(now), encoding="ascii")
            part.replace(self._folder / f"{point}-{self._edge}")  # whole, and without waiting for the disk

    def latest(self, point: str) -> float | None:
        """When the last one arrived; None while not all have.

        All edges are given the same time, so that they can agree on what follows from it.
        """
        for edge in range(self._edges):
            if (point, edge) not in self._times:
                with suppress(OSError):
                    text = (self._folder / f"{point}-{edge}").read_text(encoding="ascii")
                    self._times[point, edge] = float(text)
        times = [self._times[point, edge] for edge in range(self._edges) if (point, edge) in self._times]
        return max(times) if len(times) == self._edges else None
