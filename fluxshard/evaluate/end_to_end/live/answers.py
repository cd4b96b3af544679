"""What an edge got of one clip over one link: a row per counted frame, on disk beside the detections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.end_to_end.content.recordings import load_arrays, save_arrays
from fluxshard.evaluate.traces.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """One frame that was taken. Times in milliseconds since the first counted one, or lasting.

    Attributes:
      captured: number of the frame since the camera was opened.
      picture: number within the clip.
      captured_ms, start_ms: when it was there, and when it was taken.
      latency_ms: from then until its detections were there.
      before_ms: on the edge, before it or the link could begin: image tests, deciding, encoding, waiting for the edge.
      link_ms: neither edge nor server worked on it: up, and down again.
      server_wait_ms: in the server's queue, and decoding.
      network_ms: the network, where the answer came from.
      after_ms: all that is left; where a frame was hedged and the edge answered, the wait for the server as well.
      answered: 1; 0 where nobody has.
      cloud, hedged, refreshed: 1 where the server answered, both ran it because the server was late, or the server was
        sent it without being asked.
      sent_bytes: for it, and for frames dropped before it.
      compute: executed multiply-accumulates over the dense network's, of the endpoint that answered.
      busy_ms: that the edge's network and image tests ran since the frame before was done, for whichever frame.
    """

    captured: int
    picture: int
    captured_ms: float
    start_ms: float
    latency_ms: float
    before_ms: float
    link_ms: float
    server_wait_ms: float
    network_ms: float
    after_ms: float
    answered: int
    cloud: int
    hedged: int
    refreshed: int
    sent_bytes: int
    compute: float
    busy_ms: float


PARTS = ("before_ms", "link_ms", "server_wait_ms", "network_ms", "after_ms")
COLUMNS = tuple(field.name for field in fields(AnswerRow))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """All counted frames of one method on one clip over one link.

    Attributes:
      columns: of `AnswerRow`, by name; without `busy_ms` where it was recorded before there was one.
      watched_ms: how long frames were counted.
      trace: detections of the same frames, in pixels of the clip's pictures; none where nobody has answered.
      metered_mj: energy that a meter of the edge's machine counted meanwhile; NaN without one.
    """

    columns: dict[str, Floats]
    watched_ms: float
    trace: Trace
    metered_mj: float = math.nan

    @classmethod
    def of(cls, rows: Sequence[AnswerRow], watched_ms: float, trace: Trace, metered_mj: float = math.nan) -> Answers:
        """From rows, in order."""
        columns = {name: np.array([float(getattr(row, name)) for row in rows]) for name in COLUMNS}
        return cls(columns=columns, watched_ms=watched_ms, trace=trace, metered_mj=metered_mj)

    def save(self, folder: Path) -> None:
        """Writes both files of the trace's clip."""
        self.trace.save(folder / f"{self.trace.clip}.json.gz")
        totals = {"watched_ms": np.array([self.watched_ms]), "metered_mj": np.array([self.metered_mj])}
        save_arrays(folder / f"{self.trace.clip}.npz", **totals, **self.columns)

    @classmethod
    def load(cls, folder: Path, clip: str) -> Answers:
        """Reads what `save` wrote.

        Raises:
          EvaluationError: missing or damaged.
        """
        columns = load_arrays(folder / f"{clip}.npz")
        watched_ms = float(columns.pop("watched_ms")[0])
        metered_mj = float(columns.pop("metered_mj", np.array([math.nan]))[0])
        trace = Trace.load(folder / f"{clip}.json.gz")
        return cls(columns=columns, watched_ms=watched_ms, trace=trace, metered_mj=metered_mj)
