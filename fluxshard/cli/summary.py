"""Figures of a whole run: `summary.json` and the table that is printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fluxshard.cli.records import FrameRecord, plain

if TYPE_CHECKING:
    from rich.table import Table


def summarise(records: Sequence[FrameRecord], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Figures over all frames but the first, which fills the caches.

    Args:
      records: all frames that ran.
      facts: what is known besides: model, video, options, cache bytes; copied into the result.

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
        "latency_ms": {
            "incremental": incremental,
            "dense": dense_ms,
            "overhead": _of(counted, "overhead_ms"),
            "decode": _distribution([record.decode_ms for record in counted]),
            "focus": _distribution([record.focus_ms for record in counted]),
            "source": _distribution([record.source_ms for record in counted]),
        },
        "speedup": speedup,
        "compute_ratio": _of(counted, "compute_ratio"),
        "recompute_ratio": _of(counted, "recompute_ratio"),
        "planned_work": _distribution([record.planned_work for record in counted if record.planned_work is not None]),
        "motion_sources": dict(Counter(str(record.stats.get("motion_source")) for record in counted)),
        "agreement": _agreement(counted),
    }
    result: dict[str, Any] = plain(summary)
    return result


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
        matched, extra, missed = (
            sum(getattr(frame, key) for frame in frames) for key in ("matched", "extra", "missed")
        )
        total = 2 * matched + extra + missed
        result |= {"matched": matched, "extra": extra, "missed": missed, "f1": 2 * matched / total if total else None}
        for name in ("box_iou", "mask_iou", "keypoint_px", "oks"):
            pairs = [(getattr(frame, name), frame.matched) for frame in frames if getattr(frame, name) is not None]
            weight = sum(count for _, count in pairs)
            result[name] = sum(value * count for value, count in pairs) / weight if weight else None
    return result


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The figures as a table for people."""
    from rich.table import Table

    table = Table(show_header=False, title="FluxShard", title_style="bold", pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    frames = f"{summary['frames']}"
    if summary["keyframes_counted"]:
        frames += f", {summary['keyframes_counted']} of them run whole"
    if summary["frames"]:
        frames += " (the first is left out of the figures)"
    table.add_row("frames", frames)
    if summary.get("policy") is not None:
        table.add_row("reuse", summary["policy"] + (f", canvas +{px} px" if (px := summary["canvas_px"]) else ""))
    latency = summary["latency_ms"]
    table.add_row("incremental", _milliseconds(latency["incremental"]))
    if latency["dense"] is not None:
        table.add_row("dense (torch, same frames)", _milliseconds(latency["dense"]))
        if summary["speedup"] is not None:
            table.add_row("dense / incremental", f"{summary['speedup']:.2f}x (medians)")
    overhead = latency["overhead"]
    measured = overhead is not None and overhead["max"] > 0
    table.add_row("engine overhead", _milliseconds(overhead) if measured else "not measured by this backend")
    table.add_row("detections from outputs", _milliseconds(latency["decode"]))
    if latency["focus"] is not None and latency["focus"]["max"] > 0:
        table.add_row("objects for the next frame", _milliseconds(latency["focus"]))
    table.add_row("video and its motion", _milliseconds(latency["source"]))
    table.add_row("compute ratio", _percent(summary["compute_ratio"]))
    table.add_row("recompute ratio (pixels)", _percent(summary["recompute_ratio"]))
    for name, text in _agreement_rows(summary["agreement"]):
        table.add_row(name, text)
    if summary.get("state_bytes") is not None:
        table.add_row("cache of the stream", f"{summary['state_bytes'] / 2**20:.1f} MiB")
    sources = ", ".join(f"{name} {count}" for name, count in summary["motion_sources"].items())
    table.add_row("motion from", sources or "-")
    table.add_row("files", str(summary.get("out", "-")))
    return table


def _agreement_rows(agreement: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if agreement is None:
        return []
    rows: list[tuple[str, str]] = []

    def add(key: str, name: str, show: Callable[[float], str]) -> None:
        if agreement.get(key) is not None:
            rows.append((name, show(agreement[key])))

    counts = f" ({agreement.get('matched')} matched, {agreement.get('missed')} missed, {agreement.get('extra')} extra)"
    add("f1", "agreement with dense: F1", lambda value: f"{value:.4f}{counts}")
    add("box_iou", "mean box IoU", lambda value: f"{value:.4f}")
    add("mask_iou", "mean mask IoU", lambda value: f"{value:.4f}")
    add("keypoint_px", "mean keypoint distance", lambda value: f"{value:.2f} px of the network's input")
    add("oks", "mean OKS", lambda value: f"{value:.4f}")
    add("max_difference", "largest raw difference", lambda value: f"{value:.4g}")
    return rows


def _milliseconds(distribution: Mapping[str, float] | None) -> str:
    if distribution is None:
        return "-"
    return f"median {distribution['median']:.2f} ms, p95 {distribution['p95']:.2f} ms"


def _percent(distribution: Mapping[str, float] | None) -> str:
    if distribution is None:
        return "-"
    return f"mean {distribution['mean']:.1%}, median {distribution['median']:.1%}"
