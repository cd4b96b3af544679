"""Figures of a run in two places: who answered, what went over the link, and how often it went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def placement_summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Figures of the frames' placement records; None for a run in one place.

    Args:
      records: of the frames that count, as `PlacementRecord.as_dict` gives them.
    """
    if not records:
        return None
    by_edge, by_cloud = ([record for record in records if record["answered_by"] == name] for name in ("edge", "cloud"))
    ran = [record["server"] for record in records if record["server"] is not None]
    return {
        "edge": len(by_edge),
        "cloud": len(by_cloud),
        "unanswered": len(records) - len(by_edge) - len(by_cloud),
        "hedged": sum(record["hedged"] for record in records),
        "hedged_and_won_by_the_edge": sum(
            record["hedged"] and record["answered_by"] == "edge" and record["decision"]["endpoint"] == "cloud"
            for record in records
        ),
        "refreshed": sum(record["refreshed"] for record in records),
        "cloud_outcomes": dict(Counter(record["cloud_outcome"] for record in records if record["cloud_outcome"])),
        "cloud_closed": dict(Counter(record["cloud_open"] for record in records if record["cloud_open"])),
        "bytes_sent": int(sum(record["bytes_sent"] for record in records)),
        "bytes_per_frame": float(np.mean([record["bytes_sent"] for record in records])),
        "server_compute_ratio": float(np.mean([one["compute_ratio"] for one in ran])) if ran else None,
        "cloud_latency_ms": _median(by_cloud, "latency_ms"),
        "edge_latency_ms": _median(by_edge, "latency_ms"),
    }


def _median(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [float(record[name]) for record in records]
    return float(np.median(values)) if values else None
