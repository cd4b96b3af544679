"""Figures of replayed streams: latency of their frames, age of what is known, and distance from an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.replay import Answered, Replayed

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamFigures:
    """What counts of one stream.

    Attributes:
      latencies_ms: of its frames.
      hedged: frames that both endpoints ran because the cloud was late.
      by_cloud: frames that the cloud answered.
      sent_bytes, spare_bytes: as of `Replayed`.
      age_ms2: integral of the age of the newest answer's frame over time.
      watched_ms: time of that, from the first answer to the last.
    """

    latencies_ms: Floats
    hedged: int
    by_cloud: int
    sent_bytes: float
    spare_bytes: float
    age_ms2: float
    watched_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of streams taken together: all of their frames count the same, but for the age, where all moments do.

    Attributes:
      frames: answered.
      fps: answered per second.
      mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms: of latency.
      hedged, by_cloud: shares of frames.
      sent_bytes: per frame.
      spare: share of them that went up for frames that the edge answered.
      age_ms: mean over time of how long ago the newest answered frame was captured. Slow streams answer fewer frames;
        here that counts.
    """

    frames: int
    fps: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    hedged: float
    by_cloud: float
    sent_bytes: float
    spare: float
    age_ms: float


def stream_figures(stream: Replayed, period_ms: float) -> StreamFigures:
    """Figures of a stream.

    Args:
      stream: that was replayed.
      period_ms: between captured frames.
    """
    answered = stream.answered
    age_ms2, watched_ms = _age(answered, period_ms)
    return StreamFigures(
        latencies_ms=np.array([frame.latency_ms for frame in answered]),
        hedged=sum(frame.hedged for frame in answered),
        by_cloud=sum(frame.endpoint == "cloud" for frame in answered),
        sent_bytes=stream.sent_bytes,
        spare_bytes=stream.spare_bytes,
        age_ms2=age_ms2,
        watched_ms=watched_ms,
    )


def _age(answered: Sequence[Answered], period_ms: float) -> tuple[float, float]:
    """Integral of the age from the first answer to the last, and that time."""
    done = np.array([frame.start_ms + frame.latency_ms for frame in answered])
    captured = np.array([frame.frame * period_ms for frame in answered])
    lasts = np.diff(done)
    # between two answers, the age grows by a millisecond each millisecond
    return float(np.sum(lasts * (done[:-1] + lasts / 2 - captured[:-1]))), float(done[-1] - done[0])


def pooled(streams: Sequence[StreamFigures]) -> Figures:
    """Figures of streams taken together.

    Raises:
      EvaluationError: there are no frames.
    """
    if not streams:
        raise EvaluationError("no streams were replayed: there is nothing to measure")
    latencies = np.concatenate([stream.latencies_ms for stream in streams])
    p50, p95, p99, p999 = np.quantile(latencies, (0.5, 0.95, 0.99, 0.999))
    n, sent = len(latencies), sum(stream.sent_bytes for stream in streams)
    watched = sum(stream.watched_ms for stream in streams)
    return Figures(
        frames=n, fps=1000 * n / watched if watched else float("nan"), mean_ms=float(latencies.mean()),
        p50_ms=float(p50), p95_ms=float(p95), p99_ms=float(p99), p999_ms=float(p999), max_ms=float(latencies.max()),
        hedged=sum(stream.hedged for stream in streams) / n,
        by_cloud=sum(stream.by_cloud for stream in streams) / n, sent_bytes=sent / n,
        spare=sum(stream.spare_bytes for stream in streams) / sent if sent else 0.0,
        age_ms=sum(stream.age_ms2 for stream in streams) / watched if watched else float("nan"),
    )  # fmt: skip


def skill(policy_ms: float, statics_ms: Sequence[float], oracle_ms: float) -> float | None:
    """Which share of the way from the best static choice to an oracle a policy goes.

    Args:
      policy_ms: mean of the policy.
      statics_ms: means of the static choices.
      oracle_ms: mean of the oracle.

    Returns:
      1 for the oracle, 0 for the best static choice; None where both are within a tenth of a millisecond.
    """
    gain = min(statics_ms) - oracle_ms
    return (min(statics_ms) - policy_ms) / gain if gain > 0.1 else None
