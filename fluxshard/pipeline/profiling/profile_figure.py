"""A picture of a latency profile: latency over work, and predicted against measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.pipeline.profiling.measure import MeasuredFrame
from fluxshard.pipeline.profiling.profile_latency import ProfiledEndpoint
from fluxshard.runtime.offload.latency_model import LatencyModel

FRAME, KEYFRAME, FITTED, QUIET = "#1971c2", "#e8590c", "#2b8a3e", "#adb5bd"


def draw_profile(profiled: ProfiledEndpoint, path: Path, title: str) -> None:
    """Writes the picture.

    Args:
      profiled: what was measured and fitted.
      path: of the picture; its suffix says the format.
      title: above it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    model, frames = profiled.profile.model, profiled.frames
    figure = Figure(figsize=(10, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    left, right = figure.subplots(1, 2)
    _over_work(left, model, frames)
    _against_measured(right, model, frames)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e9ecef", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.legend(loc="upper left", frameon=False, fontsize=9)
    figure.savefig(path)


def _over_work(axis: Any, model: LatencyModel, frames: Sequence[MeasuredFrame]) -> None:
    for name, colour, chosen in _kinds(frames):
        axis.plot([100 * frame.work[0] for frame in chosen], [frame.ms for frame in chosen], ".", color=colour, ms=5,
                  alpha=0.7, label=name)  # fmt: skip
    work = np.linspace(0, 1, 101)
    fitted = [model.predict_ms((share,) * len(model.slopes_ms)) for share in work]
    axis.plot(100 * work, fitted, color=FITTED, linewidth=1.6, label="fitted, all kinds of work alike")
    axis.set_ylim(0, _highest(frames))
    axis.set_xlabel("predicted work (% of the network)" if len(model.slopes_ms) > 1 else "pixels to recompute (%)")
    axis.set_ylabel("measured latency (ms)")
    axis.set_title("latency over work", fontsize=10, loc="left", color="#495057")


def _against_measured(axis: Any, model: LatencyModel, frames: Sequence[MeasuredFrame]) -> None:
    highest = _highest(frames)
    axis.plot([0, highest], [0, highest], color=QUIET, linewidth=1.0, label="equal")
    for name, colour, chosen in _kinds(frames):
        predicted = [model.predict_ms(frame.work) for frame in chosen]
        axis.plot([frame.ms for frame in chosen], predicted, ".", color=colour, ms=5, alpha=0.7, label=name)
    axis.set_xlim(0, highest)
    axis.set_ylim(0, highest)
    axis.set_xlabel("measured latency (ms)")
    axis.set_ylabel("predicted latency (ms)")
    axis.set_title(
        f"predicted and measured, median error {model.error:.1%}",
        fontsize=10, loc="left", color="#495057",
    )  # fmt: skip


def _kinds(frames: Sequence[MeasuredFrame]) -> list[tuple[str, str, list[MeasuredFrame]]]:
    """Names, colours and frames of keyframes and others."""
    return [
        ("frames", FRAME, [frame for frame in frames if not frame.keyframe]),
        ("keyframes", KEYFRAME, [frame for frame in frames if frame.keyframe]),
    ]


def _highest(frames: Sequence[MeasuredFrame]) -> float:
    # single outliers, such as another program's burst, must not flatten everything else
    return 1.25 * float(np.percentile([frame.ms for frame in frames], 98))
