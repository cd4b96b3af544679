"""Pictures over all clips of an evaluation.

Each function writes one file, PNG or SVG by its suffix, makes its folder if need be, and returns its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores, FrameScores
from fluxshard.evaluate.report.grouping import by_method, family_of, measure_named, scores_of
from fluxshard.evaluate.report.plot_style import (
    DENSE,
    QUIET,
    TEXT,
    Label,
    annotate,
    canvas,
    place_labels,
    plain,
    save,
    style_of,
)
from fluxshard.evaluate.report.tables import LOSSES, MethodSummary, summary_rows

Floats = NDArray[np.float64]
WHISKERS = {"capsize": 2.5, "elinewidth": 1.0, "capthick": 1.0}


def draw_frontier(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    dense: str = "dense",
    measure: str = "jaccard",
    losses: Sequence[float] = LOSSES,
    lowest: float = 0.85,
    title: str = "Accuracy against compute",
) -> Path:
    """Accuracy over compute: one line per family, one point per setting, labelled with its parameter.

    Whiskers are 95% intervals over clips: of compute, and of the loss against the dense network.

    Args:
      scores: of all methods.
      path: the picture.
      dense: the method that the dashed line shows.
      measure: of accuracy.
      losses: shares of the dense network's accuracy that are marked.
      lowest: settings that keep less than this share are drawn on the lower edge, with what they have.
      title: of the picture.

    Raises:
      EvaluationError: see `summary_rows`; or no method but the dense one has the measure.
      OptionError: there is no such measure, or the suffix of `path` is neither .png nor .svg.
    """
    kind = measure_named(measure)
    rows = summary_rows(scores, dense, measure)
    level = next(row.value for row in rows if row.method == dense)
    settings = [row for row in rows if row.method != dense and row.loss is not None and row.compute is not None]
    if not settings or level is None:
        raise EvaluationError(f"no method has {kind.symbol} to compare with that of {dense!r}; nothing to draw")
    figure, (axis,) = canvas(path, size=(8.5, 5.4))
    kept = [1 - _most_lost(row) for row in settings if 1 - (row.loss or 0) >= lowest]
    floor = level * max(lowest, min([*kept, 1 - 1.15 * max(losses, default=0.0)]) - 0.01)
    ceiling = level * max(1.01, *(1 - _least_lost(row) + 0.005 for row in settings))
    axis.set_ylim(floor, ceiling)
    axis.axhline(level, color=DENSE, linewidth=1.4, linestyle="--", label=plain(f"{dense}: {level:.3f}"))
    furthest = max(100 * max(row.compute, (row.compute_interval or (0, 0))[1]) for row in settings if row.compute)
    right = max(1.04 * furthest, 5.0)
    axis.set_xlim(0, right)
    for loss in losses:
        axis.axhline(level * (1 - loss), color=QUIET, linewidth=0.8, linestyle=":")
        axis.annotate(
            f"−{100 * loss:g}%", (1, level * (1 - loss)), (-2, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", fontsize=8, color=TEXT,
        )  # fmt: skip
    labels: list[Label] = []
    for index, family in enumerate(dict.fromkeys(row.family for row in settings)):
        labels += _family_line(axis, [row for row in settings if row.family == family], level, floor, index)
    axis.set_xlabel("compute (% of the dense network's multiply-accumulates)")
    axis.set_ylabel(f"{kind.symbol}, mean over clips")
    note = f"{kind.symbol}: {kind.meaning}. Whiskers: 95% over clips, of compute and of the loss against {dense}."
    if any(level * (1 - (row.loss or 0.0)) < floor for row in settings):
        note += f" Triangles on the lower edge: settings below it, with their {kind.symbol}."
    annotate(figure, axis, title, note)
    place_labels(figure, axis, labels)
    return save(figure, path)


def _most_lost(row: MethodSummary) -> float:
    return row.loss_interval[1] if row.loss_interval is not None else row.loss or 0.0


def _least_lost(row: MethodSummary) -> float:
    return row.loss_interval[0] if row.loss_interval is not None else row.loss or 0.0


def _family_line(axis: Any, rows: Sequence[MethodSummary], level: float, floor: float, index: int) -> list[Label]:
    """Draws the settings of a family; returns their labels."""
    style = style_of(index)
    ordered = sorted(rows, key=lambda row: row.compute or 0.0)
    # of the dense network's mean, so that methods with fewer clips are drawn by what they lose on these
    x = np.array([100 * (row.compute or 0.0) for row in ordered])
    y = np.array([level * (1 - (row.loss or 0.0)) for row in ordered])
    x_spans = np.array([[100 * end for end in row.compute_interval or (row.compute or 0.0,) * 2] for row in ordered])
    y_spans = np.array([[level * (1 - _most_lost(row)), level * (1 - _least_lost(row))] for row in ordered])
    axis.plot(x, y, color=style.colour, linestyle=style.line, linewidth=1.6, zorder=3)
    shown = y >= floor
    axis.errorbar(
        x[shown], y[shown], xerr=_whiskers(x, x_spans)[:, shown], yerr=_whiskers(y, y_spans)[:, shown],
        color=style.colour, marker=style.marker, markersize=6, linestyle="none", zorder=4, **WHISKERS,
        label=plain(rows[0].family),
    )  # fmt: skip
    if not shown.all():
        axis.plot(
            x[~shown], np.full((~shown).sum(), floor), color=style.colour, marker="v", markersize=8, linestyle="none",
            clip_on=False, zorder=5,
        )  # fmt: skip
    labels = []
    for row, at_x, at_y, x_span, y_span, visible in zip(ordered, x, y, x_spans, y_spans, shown, strict=True):
        text = row.parameter if visible else f"{row.parameter}: {at_y:.3f}".removeprefix(": ")
        if text:
            place = (at_y, tuple(y_span)) if visible else (floor, (floor, floor))
            labels.append(Label(at_x, place[0], text, style.colour, tuple(x_span), place[1]))
    return labels


def _whiskers(values: Floats, spans: Floats) -> Floats:
    """Lengths below and above, `(2, n)`; a bootstrap interval may lie wholly on one side of its mean."""
    return np.stack([values - spans[:, 0], spans[:, 1] - values]).clip(min=0)


def draw_reuse_over_motion(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    methods: Sequence[str] | None = None,
    bins: int = 8,
    title: str = "Reuse against motion",
) -> Path:
    """Reuse ratio (1 - recompute ratio) over how much a frame moves: one line per method.

    Frames, first ones left out, are put into bins with about equally many frames of all methods together; a point is a
    bin's mean reuse over its median motion, the band holds the middle half of its frames.

    Args:
      scores: of all methods.
      path: the picture.
      methods: what to draw; all if None.
      bins: at most; fewer where many frames move equally.
      title: of the picture.

    Raises:
      EvaluationError: a method was not evaluated, or no frame says how much was recomputed.
      OptionError: the suffix of `path` is neither .png nor .svg.
    """
    known = by_method(scores)
    chosen = list(known) if methods is None else list(methods)
    found: dict[str, tuple[Floats, Floats]] = {}
    for method in chosen:
        frames = _counted(scores_of(known, method).values())
        motion, reuse = _columns(frames, "motion_px"), 1 - _columns(frames, "recompute_ratio")
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
            [100 * float(np.percentile(kept, 25)) for _, kept in groups],
            [100 * float(np.percentile(kept, 75)) for _, kept in groups],
            color=style.colour, alpha=0.12, linewidth=0,
        )  # fmt: skip
        axis.plot(
            x, [100 * float(np.mean(kept)) for _, kept in groups], color=style.colour, linestyle=style.line,
            marker=style.marker, markersize=5, linewidth=1.6, label=plain(method),
        )  # fmt: skip
    axis.set_xlim(left=0)
    axis.set_ylim(0, 102)
    axis.set_xlabel("motion per frame: standard deviation of the motion vectors (px)")
    axis.set_ylabel("reuse ratio (% of pixels)")
    note = "Points: means of bins with equally many frames. Bands: the middle half of a bin's frames."
    annotate(figure, axis, title, note)
    return save(figure, path)


def draw_naive_reuse(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    methods: Mapping[str, str],
    dense: str = "dense",
    measure: str = "jaccard",
    title: str = "Accuracy under naive reuse",
) -> Path:
    """Bars of a measure, with what is lost against the dense network.

    Args:
      scores: of all methods.
      path: the picture.
      methods: label → method, in the order of the bars.
      dense: the method that losses are against; a dashed line unless it is one of the bars.
      measure: of accuracy.
      title: of the picture.

    Raises:
      EvaluationError: a method was not evaluated, has no clip of `dense`, or lacks the measure.
      OptionError: there is no such measure, or the suffix of `path` is neither .png nor .svg.
    """
    kind = measure_named(measure)
    known = by_method(scores)
    wanted = dict.fromkeys((dense, *methods.values()))
    entries = [entry for method in wanted for entry in scores_of(known, method).values()]
    rows = {row.method: row for row in summary_rows(entries, dense, measure)}
    figure, (axis,) = canvas(path, size=(1.6 + 1.9 * max(2, len(methods)), 4.6))
    level = rows[dense].value
    line = 0.0
    if level is not None and dense not in methods.values():
        line = level  # numbers are written above it
        axis.axhline(level, color=DENSE, linewidth=1.4, linestyle="--", label=plain(f"{dense}: {level:.3f}"), zorder=1)
    reused = [method for method in methods.values() if method != dense]
    for index, method in enumerate(methods.values()):
        row = rows[method]
        if row.value is None:
            raise EvaluationError(f"{method!r} has no {kind.symbol}; nothing to draw")
        colour = DENSE if method == dense else style_of(reused.index(method)).colour
        axis.bar(index, row.value, width=0.62, color=colour, zorder=2)
        top, text = max(row.value, line), f"{row.value:.3f}"
        if method != dense and row.loss is not None:
            text += f"\nloss {100 * row.loss:.2f}%"
            if row.loss_interval is not None:
                text += f"\n[{100 * row.loss_interval[0]:.1f}, {100 * row.loss_interval[1]:.1f}]"
                # of the paired loss: how much clips differ among themselves says nothing here
                mean = row.value / (1 - row.loss) if row.loss != 1 else 0.0
                low, high = (mean * (1 - loss) for loss in reversed(row.loss_interval))
                axis.errorbar(
                    index, row.value, yerr=[[max(0.0, row.value - low)], [max(0.0, high - row.value)]],
                    color=TEXT, linestyle="none", zorder=3, **WHISKERS,
                )  # fmt: skip
                top = max(top, high)
        axis.annotate(text, (index, top), (0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=9)
    axis.set_xticks(range(len(methods)), [plain(label) for label in methods])
    axis.set_xlim(-0.6, len(methods) - 0.4)
    axis.set_ylim(0, 1.28 * max(rows[method].value or 0.0 for method in wanted) or 1.0)
    axis.set_ylabel(f"{kind.symbol}, mean over clips")
    note = f"{kind.symbol}: {kind.meaning}. Loss: against {dense} on the same clips, 95% interval."
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
    """Latency of frames over their compute ratio: points, one fitted line per family, the dense network dashed.

    A line is fitted by least squares to the medians of up to ten bins with equally many frames, which single slow
    frames do not move. First frames are left out.

    Args:
      scores: of all methods.
      path: the picture.
      dense: the method that the dashed line shows; not drawn where it was not evaluated.
      methods: whose frames are drawn; all but `dense` if None.
      most: at most so many points per family, evenly taken from its frames; lines are fitted to all frames.
      title: of the picture.

    Raises:
      EvaluationError: a method was not evaluated, or no frame has a latency and a compute ratio.
      OptionError: the suffix of `path` is neither .png nor .svg.
    """
    known = by_method(scores)
    chosen = [method for method in known if method != dense] if methods is None else list(methods)
    families: dict[str, list[FrameScores]] = {}
    for method in chosen:
        clips = list(scores_of(known, method).values())
        families.setdefault(family_of(clips[0]), []).extend(_counted(clips))
    points: dict[str, tuple[Floats, Floats]] = {}
    for family, frames in families.items():
        compute, latency = 100 * _columns(frames, "compute_ratio"), _columns(frames, "latency_ms")
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
        # the legend shows solid points where those of the picture are faint
        axis.plot([], [], color=style.colour, marker=style.marker, linestyle=style.line, label=plain(label))
        tops.append(float(np.percentile(latency, 98)))
    reference = _columns(_counted(known.get(dense, {}).values()), "latency_ms")
    reference = reference[np.isfinite(reference)]
    if reference.size:
        level = float(np.median(reference))
        axis.axhline(level, color=DENSE, linewidth=1.4, linestyle="--", label=plain(f"{dense}: {level:.1f} ms"))
        tops.append(level)
    # single outliers, such as another program's burst, must not flatten everything else
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
    """Slope and offset; None where all x are about equal."""
    place = np.searchsorted(np.unique(np.quantile(x, np.linspace(0, 1, 11)))[1:-1], x, side="right")
    middle = np.array([(np.median(x[place == bin_]), np.median(y[place == bin_])) for bin_ in np.unique(place)])
    if np.ptp(middle[:, 0]) < 1e-3:
        return None
    slope, offset = np.polyfit(middle[:, 0], middle[:, 1], 1)
    return float(slope), float(offset)


def _counted(clips: Iterable[ClipScores]) -> list[FrameScores]:
    """All frames but the first ones, which fill the caches."""
    return [frame for clip in clips for frame in clip.frames[1:]]


def _columns(frames: Sequence[FrameScores], name: str) -> Floats:
    return np.array([getattr(frame, name) for frame in frames], np.float64)
