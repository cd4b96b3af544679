"""Log of the points that a search has measured, so that an interrupted search resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fluxshard.evaluate.calibration.coordinate_descent import MeasuredPoint, pareto


class SearchLog:
    """Measured points in a JSON lines file, one line per point.

    Args:
      path: file to append to; created with the first point.
      search_key: everything that results depend on, as JSON values; lines of another key are ignored.
    """

    def __init__(self, path: Path, search_key: dict[str, Any]) -> None:
        self._path = path
        self._digest = hashlib.sha256(json.dumps(search_key, sort_keys=True).encode()).hexdigest()

    def read(self) -> list[MeasuredPoint]:
        """Points of earlier searches with the same key; damaged lines are ignored."""
        points = []
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["question"] == self._digest:
                        points.append(MeasuredPoint(entry["point"], float(entry["work"]), float(entry["accuracy"])))
                except (ValueError, KeyError, TypeError):
                    continue
        return points

    def add(self, point: MeasuredPoint) -> None:
        """Appends a point."""
        entry = {
            "question": self._digest,
            "point": dict(point.point),
            "work": point.work,
            "accuracy": point.accuracy,
        }
        # a search killed while writing leaves a partial line, which must not swallow this one
        is_cut = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if is_cut else "") + json.dumps(entry) + "\n")


def frontier_facts(points: Sequence[MeasuredPoint]) -> list[dict[str, Any]]:
    """Pareto front as JSON values for a threshold profile; accuracy is a fraction of the dense network's."""
    return [{"work": entry.work, "accuracy": entry.accuracy, "point": dict(entry.point)} for entry in pareto(points)]
