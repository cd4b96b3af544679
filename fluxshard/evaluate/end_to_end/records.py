"""Replayed streams as arrays, and on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.end_to_end.content.recordings import load_arrays, save_arrays
from fluxshard.evaluate.offload.replay import Parts, Replayed

Floats = NDArray[np.float64]
PARTS = tuple(field.name for field in fields(Parts))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamRecord:
    """One stream, one row per answered frame.

    Attributes:
      frame: number of the captured frame.
      start_ms, latency_ms: when it was taken, and until its answer.
      cloud, hedged, repeated: 1 where the cloud answered, both ran it because the cloud was late, or the last result
        answered it.
      work: of the endpoint that answered.
      busy_ms: that the edge computed for it.
      parts: `(frames, PARTS)` of the latency.
      totals: bytes that went up, and of these for frames that the edge answered.
    """

    frame: Floats
    start_ms: Floats
    latency_ms: Floats
    cloud: Floats
    hedged: Floats
    repeated: Floats
    work: Floats
    busy_ms: Floats
    parts: Floats
    totals: Floats

    @classmethod
    def of(cls, stream: Replayed) -> StreamRecord:
        """The record of a replay."""
        frames = stream.answered

        def column(name: str) -> Floats:
            return np.array([float(getattr(one, name)) for one in frames])

        return cls(
            frame=column("frame"), start_ms=column("start_ms"), latency_ms=column("latency_ms"),
            cloud=np.array([float(one.endpoint == "cloud") for one in frames]), hedged=column("hedged"),
            repeated=column("repeated"), work=column("work"), busy_ms=column("busy_ms"),
            parts=np.array([[getattr(one.parts, part) for part in PARTS] for one in frames]),
            totals=np.array([stream.sent_bytes, stream.spare_bytes]),
        )  # fmt: skip


_COLUMNS = tuple(field.name for field in fields(StreamRecord))


def save_records(path: Path, records: Mapping[str, StreamRecord]) -> None:
    """Writes records by name."""
    arrays = {f"{name}\n{column}": getattr(one, column) for name, one in records.items() for column in _COLUMNS}
    # times to a microsecond, as the tables never show less than a tenth of a millisecond
    save_arrays(
        path, **{key: values.astype(np.float64 if "ms" in key else np.float32) for key, values in arrays.items()}
    )


def load_records(path: Path) -> dict[str, StreamRecord]:
    """Reads what `save_records` wrote.

    Raises:
      EvaluationError: missing or damaged.
    """
    found: dict[str, dict[str, Floats]] = {}
    for key, values in load_arrays(path).items():
        name, _, column = key.partition("\n")
        found.setdefault(name, {})[column] = values.astype(np.float64)
    return {name: StreamRecord(**columns) for name, columns in found.items()}
