"""A picture of a run: latency, work and agreement over its frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.placement_figure import draw_placement, limit_axis

INCREMENTAL, DENSE, COMPUTE, RECOMPUTE, GOOD, QUIET = "#e8590c", "#868e96", "#1971c2", "#66a6e0", "#2b8a3e", "#adb5bd"
_AGREEMENT = (
    ("F1", "f1", GOOD),
    ("box IoU", "box_iou", "#74b816"),
    ("mask IoU", "mask_iou", "#9c36b5"),
    ("OKS", "oks", "#0c8599"),
)

_LIKENESS = (
    ("mean IoU of classes", "miou", GOOD),
    ("pixels of the same class", "same", "#74b816"),
    ("same class", "top1", GOOD),
    ("of the five likeliest", "top5", "#74b816"),
    ("within a factor of 1.25", "delta1", "#74b816"),
)
_ERRORS = (
    ("error over the spread", "relative_error", "#c2255c"),
    ("relative error of depths", "depth_error", "#e599f7"),
    ("largest error of a probability", "probability_error", "#c2255c"),
)

Panel = Callable[[Any, list[int], Sequence[FrameRecord]], None]


def draw_summary(records: Sequence[FrameRecord], summary: Mapping[str, Any], path: Path) -> None:
    """Writes the picture; the first frame, which fills the caches, is left out.

    There is a panel for each kind of figures that the records have. Without any, the picture says so in words.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    counted = records[1:]
    panels = _panels(counted)
    figure = Figure(figsize=(10, 1.3 + 2.4 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    name, figures, setting = title_lines(summary)
    figure.suptitle(name, fontsize=12, fontweight="bold", x=0.01, ha="left")
    if not panels:
        figure.text(0.012, 0.5, figures, fontsize=10, color="#495057")
        figure.text(0.012, 0.2, setting, fontsize=8.5, color="#868e96")
        figure.savefig(path)
        return
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    axes[0].set_title(f"{figures}\n", fontsize=10, loc="left", color="#495057", pad=16)
    axes[0].text(0, 1.1, setting, fontsize=8.5, color="#868e96", transform=axes[0].transAxes, va="bottom")
    frames = [record.frame for record in counted]
    for draw, axis in zip(panels, axes, strict=True):
        draw(axis, frames, counted)
    axes[-1].set_xlabel("frame")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e9ecef", linewidth=0.8)
        axis.set_axisbelow(True)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(
                loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8.5, ncols=6, borderaxespad=0.1,
                columnspacing=1.2, handletextpad=0.5,
            )  # fmt: skip
    figure.savefig(path)


def _panels(records: Sequence[FrameRecord]) -> list[Panel]:
    """What there is something to draw of."""
    panels: list[Panel] = []
    if any(math.isfinite(record.incremental_ms) for record in records):
        panels.append(_latency)
    if any(math.isfinite(record.ratio(name)) for record in records for name in ("compute_ratio", "recompute_ratio")):
        panels.append(_work)
    if any(_of_agreement(record, name) is not None for record in records for _, name, _ in (*_AGREEMENT, *_LIKENESS)):
        panels.append(_agreement)
    if any(_of_agreement(record, name) is not None for record in records for _, name, _ in _ERRORS):
        panels.append(_errors)
    elif _agreement not in panels and any(record.max_difference is not None for record in records):
        panels.append(_difference)
    if any(record.placement is not None for record in records):
        panels.append(draw_placement)
    return panels


def title_lines(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """What ran on what; the averages; size, policy, type, device and machine as far as they are known."""
    model, film = (Path(str(summary.get(key, ""))).name for key in ("model", "video"))
    name = f"{_short(model)} on {_short(film)}"
    parts = []
    if summary.get("network_size"):
        parts.append("{}x{} px".format(*summary["network_size"]))
    if summary.get("policy"):
        canvas = summary.get("canvas_px")
        parts.append(f"{summary['policy']} reuse" + (f" on a canvas of +{canvas} px" if canvas else ""))
    if summary.get("dtype"):
        parts.append(f"{summary['dtype']}, {summary.get('backend')} on {summary.get('device')}")
    machine = summary.get("machine") or {}
    if machine.get("cpu"):
        threads = machine.get("threads")
        parts.append(_short(str(machine["cpu"])) + (f", {threads} threads" if threads else ""))
    if machine.get("gpu"):
        parts.append(_short(str(machine["gpu"])))
    setting = "  ·  ".join(parts)
    incremental, dense = summary["latency_ms"]["incremental"], summary["latency_ms"]["dense"]
    if incremental is None:
        return name, f"nothing to show after {_frames(summary['frames'])}: the first one fills the caches", setting
    figures = f"median {incremental['median']:.1f} ms a frame"
    if dense is not None:
        figures += f" (dense {dense['median']:.1f} ms)"
    if summary["throughput_fps"] is not None:
        figures += f", {summary['throughput_fps']:.1f} frames/s"
    if summary["compute_ratio"] is not None:
        figures += f", {summary['compute_ratio']['mean']:.0%} of the work"
    return name, figures, setting


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _short(text: str) -> str:
    return text if len(text) <= 48 else f"{text[:30]}...{text[-15:]}"


def _latency(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    dense = [np.nan if record.dense_ms is None else record.dense_ms for record in records]
    incremental = [record.incremental_ms for record in records]
    if not np.isnan(dense).all():
        axis.plot(frames, dense, color=DENSE, linewidth=1.4, label="dense (torch)")
        axis.axhline(float(np.nanmedian(dense)), color=DENSE, linewidth=0.8, linestyle=":")
    axis.plot(frames, incremental, color=INCREMENTAL, linewidth=1.6, label="incremental")
    axis.axhline(float(np.nanmedian(incremental)), color=INCREMENTAL, linewidth=0.8, linestyle=":")
    _mark_keyframes(axis, records)
    limit_axis(axis, frames, [(incremental, INCREMENTAL), (dense, DENSE)], unit="ms")
    axis.set_ylabel("latency (ms)")


def _work(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    compute = [100 * record.ratio("compute_ratio") for record in records]
    recompute = [100 * record.ratio("recompute_ratio") for record in records]
    axis.fill_between(frames, compute, color=COMPUTE, alpha=0.12, linewidth=0)
    axis.plot(frames, compute, color=COMPUTE, linewidth=1.6, label="multiplications done")
    axis.plot(frames, recompute, color=RECOMPUTE, linewidth=1.2, label="pixels recomputed")
    carried = [record.frame for record in records if record.carried]
    if carried:
        axis.scatter(
            carried, [0] * len(carried), s=10, color=DENSE, marker="s", label="carried", zorder=3, clip_on=False
        )
    _mark_keyframes(axis, records)
    values = [value for value in [*compute, *recompute] if np.isfinite(value)]
    # frames that are computed whole and measured beside it cost more than 100%
    axis.set_ylim(0, max(10.0, 1.05 * max(values), min(105.0, 1.15 * max(values))))
    axis.set_ylabel("share of dense (%)")


def _agreement(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    lowest = 1.0
    for label, name, colour in (*_AGREEMENT, *_LIKENESS):
        values = [_of_agreement(record, name) for record in records]
        if all(value is None for value in values):
            continue
        numbers = [np.nan if value is None else value for value in values]
        lowest = min(lowest, float(np.nanmin(numbers)))
        axis.plot(frames, numbers, color=colour, linewidth=1.5, label=label)
    axis.set_ylim(max(0.0, lowest - 0.1 * (1.02 - lowest) - 0.02), 1.02)
    axis.set_ylabel("agreement with dense\n(1: the same)")


def _of_agreement(record: FrameRecord, name: str) -> float | None:
    if record.scores is not None and name in record.scores:
        return record.scores[name]
    value: float | None = getattr(record.agreement, name, None)
    return value


def _errors(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    lines = []
    for label, name, colour in _ERRORS:
        values = [_of_agreement(record, name) for record in records]
        if all(value is None for value in values):
            continue
        numbers = [np.nan if value is None else 100 * value for value in values]
        axis.plot(frames, numbers, color=colour, linewidth=1.5, label=label)
        lines.append((numbers, colour))
    _mark_keyframes(axis, records)
    limit_axis(axis, frames, lines, unit="%")
    axis.set_ylabel("error against dense (%)")


def _difference(axis: Any, frames: list[int], records: Sequence[FrameRecord]) -> None:
    differences = [np.nan if record.max_difference is None else record.max_difference for record in records]
    axis.plot(frames, differences, color=GOOD, linewidth=1.5, label="largest difference from dense")
    _mark_keyframes(axis, records)
    limit_axis(axis, frames, [(differences, GOOD)], unit="")
    axis.set_ylabel("difference\n(units of the outputs)")


def _mark_keyframes(axis: Any, records: Sequence[FrameRecord]) -> None:
    label: str | None = "whole frame"
    for record in records:
        if record.stats.get("keyframe"):
            axis.axvline(record.frame, color=QUIET, linewidth=0.8, linestyle="--", zorder=0, label=label)
            label = None
