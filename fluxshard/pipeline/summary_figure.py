"""A picture of a run: latency, work and agreement over its frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.placement_figure import draw_placement

INCREMENTAL, DENSE, COMPUTE, RECOMPUTE, GOOD, QUIET = "#e8590c", "#868e96", "#1971c2", "#66a6e0", "#2b8a3e", "#adb5bd"


def draw_summary(records: Sequence[FrameRecord], summary: Mapping[str, Any], path: Path) -> None:
    """Writes the picture; the first frame, which fills the caches, is left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    counted = records[1:]
    agreements = any(record.agreement is not None or record.max_difference is not None for record in counted)
    placements = any(record.placement is not None for record in counted)
    rows = 2 + agreements + placements
    figure = Figure(figsize=(10, 1.0 + 2.4 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True)
    name, figures = _title(summary)
    figure.suptitle(name, fontsize=12, fontweight="bold", x=0.01, ha="left")
    axes[0].set_title(figures, fontsize=10, loc="left", color="#495057")
    frames = [record.frame for record in counted]
    _latency(axes[0], frames, counted)
    _work(axes[1], frames, counted)
    if agreements:
        _agreement(axes[2], frames, counted)
    if placements:
        draw_placement(axes[-1], frames, counted)
    axes[-1].set_xlabel("frame")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e9ecef", linewidth=0.8)
        axis.set_axisbelow(True)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(
                loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9, ncols=4, borderaxespad=0.1
            )
    figure.savefig(path)


def _title(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Title of the figure: model, video and averages."""
    model, film = (Path(str(summary.get(key, ""))).name for key in ("model", "video"))
    name = f"{_short(model)} on {_short(film)}"
    incremental, dense = summary["latency_ms"]["incremental"], summary["latency_ms"]["dense"]
    if incremental is None:
        return name, f"nothing to show after {summary['frames']} frames"
    figures = f"median {incremental['median']:.1f} ms a frame"
    if dense is not None:
        figures += f" (dense {dense['median']:.1f} ms)"
    if summary["throughput_fps"] is not None:
        figures += f", {summary['throughput_fps']:.1f} frames/s"
    if summary["compute_ratio"] is not None:
        figures += f", {summary['compute_ratio']['mean']:.0%} of the work"
    return name, figures


def _short(text: str) -> str:
    return text if len(text) <= 48 else f"{text[:30]}...{text[-15:]}"


def _latency(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    dense = [np.nan if record.dense_ms is None else record.dense_ms for record in records]
    incremental = [record.incremental_ms for record in records]
    if not np.isnan(dense).all():
        axis.plot(frames, dense, color=DENSE, linewidth=1.4, label="dense (torch)")
        axis.axhline(float(np.nanmedian(dense)), color=DENSE, linewidth=0.8, linestyle=":")
    axis.plot(frames, incremental, color=INCREMENTAL, linewidth=1.6, label="incremental")
    if incremental:
        axis.axhline(float(np.median(incremental)), color=INCREMENTAL, linewidth=0.8, linestyle=":")
    _mark_keyframes(axis, records)
    values = [value for value in [*incremental, *dense] if np.isfinite(value)]
    # single outliers, such as another program's burst, must not flatten everything else
    axis.set_ylim(0, 1.25 * float(np.percentile(values, 98)) if values else 1)
    axis.set_ylabel("latency (ms)")


def _work(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    compute = [100 * record.ratio("compute_ratio") for record in records]
    recompute = [100 * record.ratio("recompute_ratio") for record in records]
    axis.fill_between(frames, compute, color=COMPUTE, alpha=0.12, linewidth=0)
    axis.plot(frames, compute, color=COMPUTE, linewidth=1.6, label="multiplications done")
    axis.plot(frames, recompute, color=RECOMPUTE, linewidth=1.2, label="pixels recomputed")
    _mark_keyframes(axis, records)
    values = [value for value in [*compute, *recompute] if np.isfinite(value)]
    axis.set_ylim(0, max(10.0, min(105.0, 1.15 * max(values, default=100.0))))
    axis.set_ylabel("share of dense (%)")


def _agreement(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    lines = (
        ("F1", "f1", GOOD),
        ("box IoU", "box_iou", "#74b816"),
        ("mask IoU", "mask_iou", "#9c36b5"),
        ("OKS", "oks", "#0c8599"),
    )
    lowest = 1.0
    drawn = False
    for label, name, colour in lines:
        values = [getattr(record.agreement, name, None) for record in records]
        if all(value is None for value in values):
            continue
        numbers = [np.nan if value is None else value for value in values]
        lowest = min(lowest, float(np.nanmin(numbers)))
        axis.plot(frames, numbers, color=colour, linewidth=1.5, label=label)
        drawn = True
    if drawn:
        axis.set_ylim(max(0.0, lowest - 0.1 * (1.02 - lowest) - 0.02), 1.02)
        axis.set_ylabel("agreement with dense")
    else:
        axis.plot(frames, [record.max_difference for record in records], color=GOOD, linewidth=1.5)
        axis.set_ylim(bottom=0)
        axis.set_ylabel("largest raw difference")


def _mark_keyframes(axis: Any, records: Sequence[FrameRecord]) -> None:
    for record in records:
        if record.stats.get("keyframe"):
            axis.axvline(record.frame, color=QUIET, linewidth=0.8, linestyle="--", zorder=0)
