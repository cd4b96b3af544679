"""Plots of the frames of all clips: reuse over motion and latency over compute.

Each function writes one PNG or SVG file, by suffix, creates its directory if missing, and returns its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores, FrameScores
from fluxshard.evaluate.report.grouping import by_method, family_of, scores_of
from fluxshard.evaluate.report.plot_style import DENSE, annotate, canvas, plain, save, style_of

Floats = NDArray[np.float64]


def draw_reuse_over_motion(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    methods: Sequence[str] | None = None,
    bins: int = 8,
    title: str = "Reuse against motion",
) -> Path:
    """Plots the reuse ratio (1 - recompute ratio) over the motion of frames: one line per method.

    Frames are binned by motion into bins with about equally many frames of all methods together. A point is the mean
    reuse of a bin over its median motion, the band its interquartile range. First frames are excluded.

    Source: the paper's Fig. 1b.

    Args:
      scores: scores of all methods.
      path: file of the picture.
      methods: names of the methods to draw; None draws all.
      bins: maximum number of bins; fewer where many frames have equal motion.
      title: title of the picture.

    Raises:
      EvaluationError: a method was not evaluated, or no frame has a motion and a recompute ratio.
      OptionError: the suffix of `path` is neither .png nor .svg.
    """
    grouped = by_method(scores)
    chosen = list(grouped) if methods is None else list(methods)
    found: dict[str, tuple[Floats, Floats]] = {}
    for method in chosen:
        frames = _counted(scores_of(grouped, method).values())
        motion, reuse = _column(frames, "motion_px"), 1 - _column(frames, "recompute_ratio")
        usable = np.isfinite(motion) & np.isfinite(reuse)
        found[method] = motion[usable], reuse[usable]
    pooled = np.concatenate([motion for motion, _ in found.values()]) if found else np.empty(0)
    if not pooled.size:
        raise EvaluationError("no frame after the first says how much moved and was recomputed; nothing to draw")
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, bins + 1)))
    figure, (axis,) = canvas(path)
    for index, (method, (motion, reuse)) in enumerate(found.items()):
        style = style_of(index)
        place = np.searchsorted(edges[1:-1], motion, side="right")
        groups = [(motion[place == bin_], reuse[place == bin_]) for bin_ in np.unique(place)]
        x = [float(np.median(moved)) for moved, _ in groups]
        axis.fill_between(
            x,
            [100 * float(np.percentile(reused, 25)) for _, reused in groups],
            [100 * float(np.percentile(reused, 75)) for _, reused in groups],
            color=style.colour, alpha=0.12, linewidth=0,
        )  # fmt: skip
        axis.plot(
            x, [100 * float(np.mean(reused)) for _, reused in groups], color=style.colour, linestyle=style.line,
            marker=style.marker, markersize=5, linewidth=1.6, label=plain(method),
        )  # fmt: skip
    axis.set_xlim(left=0)
    axis.set_ylim(0, 102)
    axis.set_xlabel("motion per frame: standard deviation of the motion vectors (px)")
    axis.set_ylabel("reuse ratio (% of pixels)")
    note = "Points: means of bins with equally many frames. Bands: the middle half of a bin's frames."
    annotate(figure, axis, title, note)
    return save(figure, path)


def draw_latency(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    dense: str = "dense",
    methods: Sequence[str] | None = None,
    most: int = 1500,
    title: str = "Latency against compute",
) -> Path:
    """Plots the latency of frames over their compute ratio: points and one fitted line per family.

    Lines are least-squares fits to the medians of up to ten bins with equally many frames, which are robust to single
    slow frames. First frames are excluded. The median latency of the dense network is a dashed line.

    Source: the paper's Fig. 6.

    Args:
      scores: scores of all methods.
      path: file of the picture.
      dense: name of the method drawn as a dashed line; omitted where it was not evaluated.
      methods: names of the methods to draw; None draws all but `dense`.
      most: maximum number of points per family, evenly spaced over its frames; lines are fitted to all frames.
      title: title of the picture.

    Raises:
      EvaluationError: a method was not evaluated, or no frame has a latency and a compute ratio.
      OptionError: the suffix of `path` is neither .png nor .svg.
    """
    grouped = by_method(scores)
    chosen = [method for method in grouped if method != dense] if methods is None else list(methods)
    families: dict[str, list[FrameScores]] = {}
    for method in chosen:
        clips = list(scores_of(grouped, method).values())
        families.setdefault(family_of(clips[0]), []).extend(_counted(clips))
    points: dict[str, tuple[Floats, Floats]] = {}
    for family, frames in families.items():
        compute, latency = 100 * _column(frames, "compute_ratio"), _column(frames, "latency_ms")
        usable = np.isfinite(compute) & np.isfinite(latency)
        if usable.any():
            points[family] = compute[usable], latency[usable]
    if not points:
        raise EvaluationError("no frame after the first has a latency and a compute ratio; nothing to draw")
    figure, (axis,) = canvas(path)
    tops = []
    for index, (family, (compute, latency)) in enumerate(points.items()):
        style = style_of(index)
        taken = np.linspace(0, len(compute) - 1, min(most, len(compute))).round().astype(np.intp)
        axis.scatter(
            compute[taken], latency[taken], s=9, color=style.colour, marker=style.marker, alpha=0.25, linewidths=0,
            rasterized=True,
        )  # fmt: skip
        label = family
        fitted = _fitted_line(compute, latency)
        if fitted is not None:
            slope, offset = fitted
            ends = np.array([compute.min(), compute.max()])
            label = f"{family}: {offset:.1f} ms {'+' if slope >= 0 else '−'} {abs(slope):.2f} ms per %"
            axis.plot(ends, offset + slope * ends, color=style.colour, linestyle=style.line, linewidth=2)
        # opaque points for the legend: those of the picture are translucent
        axis.plot([], [], color=style.colour, marker=style.marker, linestyle=style.line, label=plain(label))
        tops.append(float(np.percentile(latency, 98)))
    reference = _column(_counted(grouped.get(dense, {}).values()), "latency_ms")
    reference = reference[np.isfinite(reference)]
    if reference.size:
        dense_ms = float(np.median(reference))
        axis.axhline(dense_ms, color=DENSE, linewidth=1.4, linestyle="--", label=plain(f"{dense}: {dense_ms:.1f} ms"))
        tops.append(dense_ms)
    # single outliers, such as a burst of another program, must not compress the rest
    top = 1.15 * max(tops)
    hidden = sum(int((latency > top).sum()) for _, latency in points.values())
    axis.set_ylim(0, top)
    axis.set_xlim(left=0)
    axis.set_xlabel("compute (% of the dense network's multiply-accumulates)")
    axis.set_ylabel("latency of a frame (ms)")
    note = f"Lines: through medians of bins. Dashed: median of {dense}."
    if hidden:
        note += f" {hidden} slower {'frame lies' if hidden == 1 else 'frames lie'} above the picture."
    annotate(figure, axis, title, note)
    return save(figure, path)


def _fitted_line(x: Floats, y: Floats) -> tuple[float, float] | None:
    """Slope and offset of a robust line through `(n,)` points; None where all x are about equal."""
    place = np.searchsorted(np.unique(np.quantile(x, np.linspace(0, 1, 11)))[1:-1], x, side="right")
    middle = np.array([(np.median(x[place == bin_]), np.median(y[place == bin_])) for bin_ in np.unique(place)])
    if np.ptp(middle[:, 0]) < 1e-3:
        return None
    slope, offset = np.polyfit(middle[:, 0], middle[:, 1], 1)
    return float(slope), float(offset)


def _counted(clips: Iterable[ClipScores]) -> list[FrameScores]:
    """Frames of all clips without the first ones, which fill the caches."""
    return [frame for clip in clips for frame in clip.frames[1:]]


def _column(frames: Sequence[FrameScores], name: str) -> Floats:
    """Attribute `name` of n frames, `(n,)`."""
    return np.array([getattr(frame, name) for frame in frames], np.float64)
