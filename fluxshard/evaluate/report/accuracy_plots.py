"""Plots of accuracy over all clips of an evaluation.

Each function writes one PNG or SVG file, by suffix, creates its directory if missing, and returns its path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.report.grouping import by_method, scores_of
from fluxshard.evaluate.report.measures import measure_named
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
from fluxshard.evaluate.report.summaries import LOSSES, MethodSummary, summary_rows

Floats = NDArray[np.float64]
Cost = Literal["compute", "time"]
_COSTS: dict[Cost, str] = {
    "compute": "compute (% of the dense network's multiply-accumulates)",
    "time": "milliseconds a frame, decoding of detections not included",
}
WHISKERS = {"capsize": 2.5, "elinewidth": 1.0, "capthick": 1.0}


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a setting costs, in units of the axis.

    Attributes:
      row: of the setting.
      of: which cost.
    """

    row: MethodSummary
    of: Cost

    @property
    def value(self) -> float:
        """Mean over clips; 0 where it was not measured."""
        return 100 * (self.row.compute or 0.0) if self.of == "compute" else self.row.frame_ms or 0.0

    @property
    def span(self) -> tuple[float, float]:
        """Ends of its interval; the value itself without one."""
        if self.of == "time":
            return self.row.frame_ms_interval or (self.value, self.value)
        low, high = self.row.compute_interval or (self.row.compute or 0.0,) * 2
        return 100 * low, 100 * high


def draw_frontier(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    dense: str = "dense",
    measure: str = "jaccard",
    losses: Sequence[float] = LOSSES,
    lowest: float = 0.85,
    over: Cost = "compute",
    title: str = "Accuracy against compute",
) -> Path:
    """Plots accuracy over compute or time: one line per family, one point per setting, labelled with the setting.

    Whiskers are 95% intervals over clips of the cost and of the loss against the dense network.

    Args:
      scores: scores of all methods.
      path: file of the picture.
      dense: name of the method drawn as a dashed line.
      measure: name of the measure of accuracy.
      losses: accuracy losses to mark, as fractions of the dense network's accuracy.
      lowest: settings that retain a smaller fraction are drawn on the lower edge, with their value.
      over: "compute": share of the dense network's multiply-accumulates; "time": milliseconds a frame.
      title: title of the picture.

    Raises:
      EvaluationError: see `summary_rows`; or no method besides `dense` has the measure.
      OptionError: there is no such measure, or the suffix of `path` is neither .png nor .svg.
    """
    kind = measure_named(measure)
    rows = summary_rows(scores, dense, measure)
    dense_value = next(row.value for row in rows if row.method == dense)
    settings = [row for row in rows if row.method != dense and row.loss is not None and row.compute is not None]
    if not settings or dense_value is None:
        raise EvaluationError(f"no method has {kind.symbol} to compare with that of {dense!r}; nothing to draw")
    figure, (axis,) = canvas(path, size=(8.5, 5.4))
    retained = [1 - _most_lost(row) for row in settings if 1 - (row.loss or 0) >= lowest]
    floor = dense_value * max(lowest, min([*retained, 1 - 1.15 * max(losses, default=0.0)]) - 0.01)
    ceiling = dense_value * max(1.01, *(1 - _least_lost(row) + 0.005 for row in settings))
    axis.set_ylim(floor, ceiling)
    axis.axhline(dense_value, color=DENSE, linewidth=1.4, linestyle="--", label=plain(f"{dense}: {dense_value:.3f}"))
    furthest = max(max(cost.value, cost.span[1]) for cost in (_Cost(row, over) for row in settings))
    right = max(1.04 * furthest, 5.0)
    axis.set_xlim(0, right)
    dense_ms = next(row.frame_ms for row in rows if row.method == dense)
    if over == "time" and dense_ms is not None:
        axis.axvline(dense_ms, color=DENSE, linewidth=1.4, linestyle="--")
        axis.set_xlim(0, max(right, 1.04 * dense_ms))
    for loss in losses:
        axis.axhline(dense_value * (1 - loss), color=QUIET, linewidth=0.8, linestyle=":")
        axis.annotate(
            f"−{100 * loss:g}%", (1, dense_value * (1 - loss)), (-2, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", fontsize=8, color=TEXT,
        )  # fmt: skip
    labels: list[Label] = []
    for index, family in enumerate(dict.fromkeys(row.family for row in settings)):
        labels += _family_line(axis, [row for row in settings if row.family == family], over, dense_value, floor, index)
    axis.set_xlabel(_COSTS[over])
    axis.set_ylabel(f"{kind.symbol}, mean over clips")
    note = f"{kind.symbol}: {kind.meaning}. Whiskers: 95% over clips, of {over} and of the loss against {dense}."
    if any(dense_value * (1 - (row.loss or 0.0)) < floor for row in settings):
        note += f" Triangles on the lower edge: settings below it, with their {kind.symbol}."
    annotate(figure, axis, title, note)
    place_labels(figure, axis, labels)
    return save(figure, path)


def _most_lost(row: MethodSummary) -> float:
    """Upper end of the interval of the loss."""
    return row.loss_interval[1] if row.loss_interval is not None else row.loss or 0.0


def _least_lost(row: MethodSummary) -> float:
    """Lower end of the interval of the loss."""
    return row.loss_interval[0] if row.loss_interval is not None else row.loss or 0.0


def _family_line(
    axis: Any, rows: Sequence[MethodSummary], over: Cost, dense_value: float, floor: float, index: int
) -> list[Label]:
    """Draws the settings of a family.

    Args:
      axis: matplotlib axes.
      rows: summaries of the settings.
      over: what they cost.
      dense_value: accuracy of the dense network.
      floor: accuracy at the lower edge.
      index: index of the family, for its style.

    Returns:
      labels of the settings, not drawn yet.
    """
    style = style_of(index)
    costs = sorted((_Cost(row, over) for row in rows), key=lambda cost: cost.value)
    ordered = [cost.row for cost in costs]
    # relative to the dense mean over all clips, so that methods with fewer clips are comparable
    x = np.array([cost.value for cost in costs])
    y = np.array([dense_value * (1 - (row.loss or 0.0)) for row in ordered])
    x_spans = np.array([cost.span for cost in costs])
    y_spans = np.array([[dense_value * (1 - _most_lost(row)), dense_value * (1 - _least_lost(row))] for row in ordered])
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
    """Lengths below and above of n values, `(2, n)`, at least 0: a bootstrap interval need not contain its mean."""
    return np.stack([values - spans[:, 0], spans[:, 1] - values]).clip(min=0)


def draw_naive_reuse(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    methods: Mapping[str, str],
    dense: str = "dense",
    measure: str = "jaccard",
    title: str = "Accuracy under naive reuse",
) -> Path:
    """Plots bars of a measure, annotated with the loss against the dense network.

    Source: the paper's Fig. 1c.

    Args:
      scores: scores of all methods.
      path: file of the picture.
      methods: names of methods by label, in the order of the bars.
      dense: name of the method that losses refer to; a dashed line unless it is one of the bars.
      measure: name of the measure of accuracy.
      title: title of the picture.

    Raises:
      EvaluationError: a method was not evaluated, has no clip in common with `dense`, or lacks the measure.
      OptionError: there is no such measure, or the suffix of `path` is neither .png nor .svg.
    """
    kind = measure_named(measure)
    grouped = by_method(scores)
    wanted = dict.fromkeys((dense, *methods.values()))
    entries = [entry for method in wanted for entry in scores_of(grouped, method).values()]
    rows = {row.method: row for row in summary_rows(entries, dense, measure)}
    figure, (axis,) = canvas(path, size=(1.6 + 1.9 * max(2, len(methods)), 4.6))
    dense_value = rows[dense].value
    line = 0.0
    if dense_value is not None and dense not in methods.values():
        line = dense_value  # numbers are written above it
        label = plain(f"{dense}: {dense_value:.3f}")
        axis.axhline(dense_value, color=DENSE, linewidth=1.4, linestyle="--", label=label, zorder=1)
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
                # interval of the paired loss: the spread between clips does not matter here
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
