"""Figures of a whole run, from the records of its frames."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fluxshard.models.detections.agreement import pooled
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.json_values import plain
from fluxshard.pipeline.placement_summary import placement_summary


def summarise(records: Sequence[FrameRecord], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Figures over all frames but the first, which fills the caches.

    Args:
      records: all frames that ran.
      facts: what is known besides: model, video, options, cache bytes; copied into the result. `wall_s` is the wall
        clock of the run in seconds, of which the throughput follows.

    Returns:
      a JSON-like dict; figures that cannot be computed are None.
    """
    counted = records[1:]
    dense = [record.dense_ms for record in counted if record.dense_ms is not None]
    incremental = _distribution([record.incremental_ms for record in counted])
    dense_ms = _distribution(dense)
    speedup = None
    if incremental is not None and dense_ms is not None and incremental["median"] > 0:
        speedup = dense_ms["median"] / incremental["median"]
    summary = {
        **facts,
        "frames": len(records),
        "frames_counted": len(counted),
        "keyframes_counted": sum(bool(record.stats.get("keyframe")) for record in counted),
        "throughput_fps": _throughput(len(records), facts.get("wall_s")),
        "carried_counted": sum(record.carried > 0 for record in counted),
        "carried_frames": _distribution([float(record.carried) for record in counted if record.carried]),
        "calibration": _calibration(counted),
        "latency_ms": {
            "incremental": incremental,
            "dense": dense_ms,
            "overhead": _of(counted, "overhead_ms"),
            "decode": _distribution([record.decode_ms for record in counted]),
            "focus": _distribution([record.focus_ms for record in counted]),
            "source": _distribution([record.source_ms for record in counted]),
            "age": _distribution([record.age_ms for record in counted if record.age_ms > 0]),
        },
        "speedup": speedup,
        "compute_ratio": _of(counted, "compute_ratio"),
        "recompute_ratio": _of(counted, "recompute_ratio"),
        "planned_work": _distribution([record.planned_work for record in counted if record.planned_work is not None]),
        "motion_sources": dict(Counter(str(record.stats.get("motion_source")) for record in counted)),
        "agreement": _agreement(counted),
        "scores": _scores(counted),
        "placement": placement_summary([record.placement for record in counted if record.placement is not None]),
    }
    result: dict[str, Any] = plain(summary)
    return result


def _throughput(frames: int, wall_s: float | None) -> float | None:
    """Frames per second of wall clock, the first frame and the closing of files included; None where unknown."""
    return frames / wall_s if frames and wall_s else None


def _distribution(values: Sequence[float]) -> dict[str, float] | None:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    return {
        "median": float(np.median(finite)),
        "p95": float(np.percentile(finite, 95)),
        "mean": float(np.mean(finite)),
        "min": min(finite),
        "max": max(finite),
    }


def _of(records: Sequence[FrameRecord], name: str) -> dict[str, float] | None:
    return _distribution([record.ratio(name) for record in records])


def _calibration(records: Sequence[FrameRecord]) -> dict[str, Any] | None:
    """Of online calibration: frames that were computed whole as well, what reuse lost on them, and the last scale."""
    calibrated = [record.calibrated for record in records if record.calibrated is not None]
    if not calibrated:
        return None
    errors = [one["error"] for one in calibrated if one["error"] is not None]
    return {"frames": len(errors), "error": _distribution(errors), "scale": calibrated[-1]["scale"]}


def _scores(records: Sequence[FrameRecord]) -> dict[str, Any] | None:
    """Distributions of every measure of `FrameRecord.scores`."""
    scored = [record.scores for record in records if record.scores is not None]
    if not scored:
        return None
    names = dict.fromkeys(name for scores in scored for name in scores)
    return {
        name: _distribution([value for scores in scored if (value := scores.get(name)) is not None]) for name in names
    }


def _agreement(records: Sequence[FrameRecord]) -> dict[str, Any] | None:
    differences = [record.max_difference for record in records if record.max_difference is not None]
    frames = [record.agreement for record in records if record.agreement is not None]
    if not differences and not frames:
        return None
    result: dict[str, Any] = {
        "max_difference": max(differences, default=None),
        "median_max_difference": float(np.median(differences)) if differences else None,
    }
    if frames:
        agreement = pooled(frames)
        counts = {name: getattr(agreement, name) for name in ("matched", "extra", "missed", "f1")}
        result |= counts | asdict(agreement)  # the means after the counts
    return result
