"""Tables of an evaluation: methods over all clips, frontiers of families, one method clip by clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.metrics.statistics import bootstrap_interval, loss_interval, relative_loss
from fluxshard.evaluate.report.grouping import (
    Measure,
    by_method,
    family_of,
    label_of,
    measure_named,
    parameter_of,
    score_of,
    scores_of,
)
from fluxshard.evaluate.report.text_table import NOTHING, Cell, Table, count, number, percent, words

LOSSES = (0.01, 0.03, 0.05)
ROUNDING = 1e-9  # 1 - 0.97 is above 0.03 in floating point
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSummary:
    """One method over the clips that the dense network was evaluated on as well.

    Means are over clips, each of which counts once however long it is. Intervals hold 95% of the bootstrap over clips;
    None for fewer than two clips. Whatever was measured on no clip is None.

    Attributes:
      method, family, label, parameter: of the scores.
      dense: the method that it is compared with.
      measure: name of the measure of accuracy.
      reference: what the scores say that accuracy was measured against; empty where they do not.
      clips: names of the clips.
      compute, compute_interval: multiply-accumulates over those of the dense network, mean.
      value: the measure, mean.
      loss, loss_interval: share of the dense network's mean that `value` lacks, on the same clips; negative for a gain.
        The interval is of pairs: method and dense network are drawn together.
      worst_clip, worst_loss: the clip that loses the largest share of the dense network's measure on it; clips on which
        that is 0 have no share. None for the dense network itself.
      miou, oks, f1, ap: against the dense network, means.
      discovery_median, discovery_p90: frames until a new object is found, quantiles over the objects of all clips.
      discoveries: how many objects that are.
      latency_ratio: median latency over that of the dense network, within each clip, mean.
      drift: change of agreement with the dense network per 100 frames, mean.
    """

    method: str
    family: str
    label: str
    parameter: str
    dense: str
    measure: str
    reference: str
    clips: tuple[str, ...]
    compute: float | None
    compute_interval: Interval | None
    value: float | None
    loss: float | None
    loss_interval: Interval | None
    worst_clip: str | None
    worst_loss: float | None
    miou: float | None
    oks: float | None
    f1: float | None
    ap: float | None
    discovery_median: float | None
    discovery_p90: float | None
    discoveries: int
    latency_ratio: float | None
    drift: float | None


def summary_rows(scores: Sequence[ClipScores], dense: str = "dense", measure: str = "jaccard") -> list[MethodSummary]:
    """One summary per method, in the order in which methods come first.

    Args:
      scores: of all methods and clips, the dense network included.
      dense: the method to compare with.
      measure: `"jaccard"`, `"miou"`, `"oks"`, `"f1"` or `"ap"`.

    Raises:
      EvaluationError: no scores, none of `dense`, two of one method and clip, or a method without a clip of `dense`.
      OptionError: there is no such measure.
    """
    kind = measure_named(measure)
    methods = by_method(scores)
    against = scores_of(methods, dense)
    return [_summary(method, clips, dense, against, kind) for method, clips in methods.items()]


def _summary(
    method: str,
    clips: Mapping[str, ClipScores],
    dense: str,
    against: Mapping[str, ClipScores],
    measure: Measure,
) -> MethodSummary:
    pairs = [(scores, against[clip]) for clip, scores in clips.items() if clip in against]
    if not pairs:
        raise EvaluationError(
            f"{method!r} has no clip in common with {dense!r}; evaluate both on the same clips, or leave {method!r} out"
        )
    mine = [scores for scores, _ in pairs]
    measured = [
        (scores.clip, value, reference)
        for scores, other in pairs
        if (value := measure.of_clip(scores)) is not None and (reference := measure.of_clip(other)) is not None
    ]
    values, references = [value for _, value, _ in measured], [reference for _, _, reference in measured]
    known = bool(measured) and sum(references) > 0
    worst = [(relative_loss([value], [reference]), clip) for clip, value, reference in measured if reference > 0]
    worst_loss, worst_clip = max(worst, key=lambda entry: entry[0]) if worst and method != dense else (None, None)
    compute = _finite([scores.compute_ratio for scores in mine])
    discoveries = [frames for scores in mine for frames in scores.discovery_frames]
    references_named = {str(scores.facts["reference"]) for scores in mine if scores.facts.get("reference")}
    return MethodSummary(
        method=method,
        family=family_of(mine[0]),
        label=label_of(mine[0]),
        parameter=parameter_of(mine[0]),
        dense=dense,
        measure=measure.name,
        reference="; ".join(sorted(references_named)),
        clips=tuple(scores.clip for scores in mine),
        compute=_mean(compute),
        compute_interval=_interval(bootstrap_interval(compute)) if len(compute) > 1 else None,
        value=_mean(values),
        loss=relative_loss(values, references) if known else None,
        loss_interval=_interval(loss_interval(values, references)) if known and len(values) > 1 else None,
        worst_clip=worst_clip,
        worst_loss=worst_loss,
        miou=_mean([scores.miou for scores in mine]),
        oks=_mean([scores.oks for scores in mine]),
        f1=_mean([scores.f1 for scores in mine]),
        ap=_mean([scores.ap for scores in mine]),
        discovery_median=float(np.median(discoveries)) if discoveries else None,
        discovery_p90=float(np.percentile(discoveries, 90)) if discoveries else None,
        discoveries=len(discoveries),
        latency_ratio=_mean([_ratio(scores.latency_ms, other.latency_ms) for scores, other in pairs]),
        drift=_mean([scores.drift for scores in mine]),
    )


def _finite(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _mean(values: Sequence[float | None]) -> float | None:
    finite = _finite(values)
    return float(np.mean(finite)) if finite else None


def _interval(ends: Interval) -> Interval | None:
    """Draws of clips on all of which the dense network finds nothing have no loss, and then no interval either."""
    return ends if all(math.isfinite(end) for end in ends) else None


def _ratio(value: float, reference: float) -> float | None:
    return value / reference if reference > 0 else None  # false for NaN as well


def frontier(
    rows: Sequence[MethodSummary], family: str, losses: Sequence[float] = LOSSES
) -> dict[float, MethodSummary | None]:
    """Per loss, the setting of a family that computes least among those that lose at most that; None where none does.

    Raises:
      EvaluationError: no row is of this family.
    """
    settings = [row for row in rows if row.family == family]
    if not settings:
        raise EvaluationError(f"no method is of family {family!r}; there are {', '.join(map(repr, _families(rows)))}")
    found: dict[float, MethodSummary | None] = {}
    for allowed in losses:
        fitting = [
            (row.compute, row.loss, index)
            for index, row in enumerate(settings)
            if row.compute is not None and row.loss is not None and row.loss <= allowed + ROUNDING
        ]
        found[allowed] = settings[min(fitting)[2]] if fitting else None
    return found


def _families(rows: Sequence[MethodSummary]) -> list[str]:
    return list(dict.fromkeys(row.family for row in rows))


def summary_table(rows: Sequence[MethodSummary]) -> Table:
    """Methods over all clips; columns that no method has a number for are left out."""
    if not rows:
        raise EvaluationError("there are no summaries to show; see summary_rows")
    measure, dense = measure_named(rows[0].measure), rows[0].dense
    notes = _notes(rows, measure, dense)
    columns: list[tuple[str, bool, list[Cell]]] = [
        ("method", False, [words(row.method) for row in rows]),
        ("clips", True, [count(len(row.clips)) for row in rows]),
        ("compute", True, [percent(row.compute, row.compute_interval) for row in rows]),
        (measure.symbol, True, [number(row.value) for row in rows]),
        ("loss", True, [percent(row.loss, row.loss_interval, digits=2) for row in rows]),
        ("worst clip", False, [_worst_clip(row) for row in rows]),
        ("mIoU to dense", True, [number(row.miou) for row in rows]),
        ("OKS to dense", True, [number(row.oks) for row in rows]),
        ("AP to dense", True, [number(row.ap) for row in rows]),
        ("F1 to dense", True, [number(row.f1) for row in rows]),
        ("discovery median", True, [count(row.discovery_median) for row in rows]),
        ("discovery 90%", True, [count(row.discovery_p90) for row in rows]),
        ("latency ratio", True, [number(row.latency_ratio, 2) for row in rows]),
        ("drift", True, [number(row.drift, signed=True) for row in rows]),
    ]
    # the measure of accuracy has a column already
    shown = [
        entry
        for entry in columns
        if any(cell.value is not None for cell in entry[2]) and entry[0] != f"{measure.symbol} to dense"
    ]
    return Table(
        notes=notes,
        headings=tuple(heading for heading, _, _ in shown),
        numeric=tuple(numeric for _, numeric, _ in shown),
        rows=tuple(zip(*(cells for _, _, cells in shown), strict=True)),
    )


def _worst_clip(row: MethodSummary) -> Cell:
    if row.worst_clip is None or row.worst_loss is None:
        return Cell(NOTHING)
    return Cell(f"{row.worst_clip} ({percent(row.worst_loss).text})", row.worst_loss)


def _notes(rows: Sequence[MethodSummary], measure: Measure, dense: str) -> tuple[str, ...]:
    reference = "; ".join(dict.fromkeys(row.reference for row in rows if row.reference))
    notes = [
        f"Against {dense!r} on the same clips. Means are over clips, first frames left out; [low, high] is the 95% "
        "bootstrap interval over clips.",
        "compute: multiply-accumulates over those of the dense network.",
        f"{measure.symbol}: {measure.meaning}{f' (reference: {reference})' if reference else ''}.",
        f"loss: share of the {measure.symbol} of {dense!r} that is lost; negative is a gain. worst clip: the one that "
        "loses the largest share.",
        "mIoU, OKS, AP, F1 to dense: agreement with the dense network's confident detections; 1 is the same.",
        "discovery: frames until an object is found that the dense network finds, over the objects of all clips. "
        f"latency ratio: median latency over that of {dense!r} in the same clip. "
        "drift: change of mIoU (OKS for poses) to dense per 100 frames.",
    ]
    if len({frozenset(row.clips) for row in rows}) > 1:
        notes.append("Not all methods were evaluated on the same clips: compare losses and ratios, not means.")
    return tuple(notes)


def markdown_table(rows: Sequence[MethodSummary]) -> str:
    """`summary_table` as GitHub's Markdown."""
    return summary_table(rows).markdown()


def frontier_table(rows: Sequence[MethodSummary], losses: Sequence[float] = LOSSES) -> Table:
    """Families × losses: the least compute, and the setting that it takes; '—' where no setting loses so little."""
    if not rows:
        raise EvaluationError("there are no summaries to show; see summary_rows")
    measure, dense = measure_named(rows[0].measure), rows[0].dense
    settings = [row for row in rows if row.method != dense]
    lines: list[tuple[Cell, ...]] = []
    for family in _families(settings):
        points = frontier(settings, family, losses).values()
        tried = sum(row.family == family for row in settings)
        lines.append((words(family), count(tried), *(_point(row) for row in points)))
    return Table(
        notes=(
            f"Least compute (multiply-accumulates over those of the dense network, mean over clips) of a setting whose "
            f"mean {measure.symbol} is at most so much below that of {dense!r}; — where no setting is. "
            "Settings are chosen on the clips that they are reported on.",
        ),
        headings=("family", "settings", *(f"loss ≤ {100 * loss:g}%" for loss in losses)),
        numeric=(False, True, *(True for _ in losses)),
        rows=tuple(lines),
    )


def _point(row: MethodSummary | None) -> Cell:
    if row is None:
        return Cell(NOTHING)
    cell = percent(row.compute)
    return Cell(f"{cell.text} ({row.parameter})", cell.value) if row.parameter else cell


def per_clip_table(
    scores: Sequence[ClipScores], method: str, *, dense: str = "dense", measure: str = "jaccard"
) -> Table:
    """One method, clip by clip.

    The worst frame is the one where the measure lies furthest below that of the dense network; '—' where it never does.

    Raises:
      EvaluationError: no scores of `method` or `dense`, no clip in common, or unequal counts of frames.
      OptionError: there is no such measure.
    """
    kind = measure_named(measure)
    methods = by_method(scores)
    mine, against = scores_of(methods, method), scores_of(methods, dense)
    clips = [clip for clip in mine if clip in against]
    if not clips:
        raise EvaluationError(f"{method!r} and {dense!r} have no clip in common; evaluate both on the same clips")
    return Table(
        notes=(
            f"{method!r} against {dense!r}. compute: multiply-accumulates over those of the dense network. "
            f"{kind.symbol}: {kind.meaning}. loss: share of the {kind.symbol} of {dense!r} that is lost. "
            "discovery: frames until an object is found that the dense network finds, median and longest. "
            f"worst frame: where {kind.symbol} lies furthest below that of {dense!r}, and by how much.",
        ),
        headings=(
            "clip", "compute", f"{kind.symbol} dense", f"{kind.symbol} method", "loss", "discovery", "worst frame",
        ),
        numeric=(False, True, True, True, True, True, True),
        rows=tuple(_clip_row(mine[clip], score_of(methods, dense, clip), kind) for clip in clips),
    )  # fmt: skip


def _clip_row(scores: ClipScores, against: ClipScores, measure: Measure) -> tuple[Cell, ...]:
    value, reference = measure.of_clip(scores), measure.of_clip(against)
    loss = None
    if value is not None and reference is not None and reference > 0:
        loss = relative_loss([value], [reference])
    found = scores.discovery_frames
    median = count(float(np.median(found))) if found else Cell(NOTHING)
    discovery = Cell(f"{median.text}, {max(found)}", median.value) if found else median
    return (
        words(scores.clip),
        percent(scores.compute_ratio),
        number(reference),
        number(value),
        percent(loss, digits=2),
        discovery,
        _worst_frame(scores, against, measure),
    )


def _worst_frame(scores: ClipScores, against: ClipScores, measure: Measure) -> Cell:
    mine, dense = measure.of_frames(scores), measure.of_frames(against)
    if len(mine) != len(dense):
        raise EvaluationError(
            f"clip {scores.clip!r} has {len(mine)} frames with {scores.method!r} and {len(dense)} with "
            f"{against.method!r}; evaluate both on the same frames"
        )
    gaps = [
        (other - value, -index)
        for index, (value, other) in enumerate(zip(mine, dense, strict=True))
        if index > 0 and value is not None and other is not None
    ]
    gap, index = max(gaps, default=(0.0, 0))
    if gap <= 0:
        return Cell(NOTHING)
    return Cell(f"{-index} ({number(-gap, 2, signed=True).text})", gap)
