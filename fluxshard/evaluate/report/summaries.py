"""Summary of each method over clips, and the frontier of each family of methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.metrics.statistics import Interval, bootstrap_interval, loss_interval, relative_loss
from fluxshard.evaluate.report.grouping import by_method, family_of, label_of, parameter_of, scores_of
from fluxshard.evaluate.report.measures import ReportMeasure, measure_named

LOSSES = (0.01, 0.03, 0.05)  # accuracy losses of frontiers, as fractions of the dense network's accuracy
ROUNDING = 1e-9  # 1 - 0.97 is above 0.03 in floating point


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSummary:
    """Summary of one method over the clips that the dense network was evaluated on, too.

    Means are over clips with equal weights. Intervals are 95% bootstrap intervals over clips, None for fewer than two
    clips. Values that were measured on no clip are None.

    Attributes:
      method, family, label, parameter: names of the method, see `grouping`.
      dense: name of the method that it is compared with.
      measure: name of the measure of accuracy.
      reference: reference of the accuracy, as the scores' facts state it; empty where they do not.
      clips: names of the clips.
      compute, compute_interval: mean compute ratio.
      value: mean of the measure.
      loss, loss_interval: relative loss of `value` to the dense network's mean on the same clips; negative for a gain.
        The interval resamples pairs of method and dense network.
      worst_clip, worst_loss: clip of the largest relative loss, among clips with a non-zero dense value. None for the
        dense network itself.
      jaccard: mean J at the confidence of reports, beside `value`.
      miou, oks, f1, ap: means against the dense network.
      discovery_median, discovery_p90: quantiles of the discovery latency in frames, over the objects of all clips.
      discoveries: number of these objects.
      frame_ms, frame_ms_interval: mean time of a frame in milliseconds, over the frames of a clip and then over clips;
        frames that were not computed count with what they took.
      latency_ratio: mean over clips of the median latency over the dense network's.
      drift: mean change of agreement with the dense network per 100 frames.
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
    jaccard: float | None
    miou: float | None
    oks: float | None
    f1: float | None
    ap: float | None
    discovery_median: float | None
    discovery_p90: float | None
    discoveries: int
    frame_ms: float | None
    frame_ms_interval: Interval | None
    latency_ratio: float | None
    drift: float | None


def summary_rows(scores: Sequence[ClipScores], dense: str = "dense", measure: str = "jaccard") -> list[MethodSummary]:
    """Summarises each method, in the order of first appearance.

    Args:
      scores: scores of all methods and clips, the dense network included.
      dense: name of the method to compare with.
      measure: "jaccard", "mean_jaccard", "miou", "oks", "f1", "teacher" or "ap".

    Raises:
      EvaluationError: there are no scores or none of `dense`, there are two of the same method and clip, or a method
        has no clip in common with `dense`.
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
    measure: ReportMeasure,
) -> MethodSummary:
    """Summary of one method; `against` are the scores of the dense network by clip."""
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
    comparable = bool(measured) and sum(references) > 0
    worst = [(relative_loss([value], [reference]), clip) for clip, value, reference in measured if reference > 0]
    worst_loss, worst_clip = max(worst, key=lambda entry: entry[0]) if worst and method != dense else (None, None)
    compute = _finite([scores.compute_ratio for scores in mine])
    times = _finite([_frame_ms(scores) for scores in mine])
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
        loss=relative_loss(values, references) if comparable else None,
        loss_interval=_interval(loss_interval(values, references)) if comparable and len(values) > 1 else None,
        worst_clip=worst_clip,
        worst_loss=worst_loss,
        jaccard=_mean([scores.jaccard for scores in mine]),
        miou=_mean([scores.miou for scores in mine]),
        oks=_mean([scores.oks for scores in mine]),
        f1=_mean([scores.f1 for scores in mine]),
        ap=_mean([scores.ap for scores in mine]),
        discovery_median=float(np.median(discoveries)) if discoveries else None,
        discovery_p90=float(np.percentile(discoveries, 90)) if discoveries else None,
        discoveries=len(discoveries),
        frame_ms=_mean(times),
        frame_ms_interval=_interval(bootstrap_interval(times)) if len(times) > 1 else None,
        latency_ratio=_mean([_ratio(scores.latency_ms, other.latency_ms) for scores, other in pairs]),
        drift=_mean([scores.drift for scores in mine]),
    )


def _finite(values: Sequence[float | None]) -> list[float]:
    """Values that are neither None nor NaN nor infinite."""
    return [value for value in values if value is not None and math.isfinite(value)]


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of the finite values; None without any."""
    finite = _finite(values)
    return float(np.mean(finite)) if finite else None


def _interval(ends: Interval) -> Interval | None:
    """The interval if it is finite: resamples whose dense mean is 0 have no loss, and without losses it is NaN."""
    return ends if all(math.isfinite(end) for end in ends) else None


def _ratio(value: float, reference: float) -> float | None:
    """Quotient; None unless the reference is above 0."""
    return value / reference if reference > 0 else None  # NaN compares as False


def frontier(
    rows: Sequence[MethodSummary], family: str, losses: Sequence[float] = LOSSES
) -> dict[float, MethodSummary | None]:
    """Setting of least compute of a family within each loss; None where no setting is within it.

    Args:
      rows: result of `summary_rows`.
      family: name of the family.
      losses: largest accuracy losses, as fractions of the dense network's accuracy.

    Raises:
      EvaluationError: there is no such family.
    """
    settings = [row for row in rows if row.family == family]
    if not settings:
        raise EvaluationError(f"no method is of family {family!r}; there are {', '.join(map(repr, families_of(rows)))}")
    found: dict[float, MethodSummary | None] = {}
    for allowed in losses:
        fitting = [
            (row.compute, row.loss, index)
            for index, row in enumerate(settings)
            if row.compute is not None and row.loss is not None and row.loss <= allowed + ROUNDING
        ]
        found[allowed] = settings[min(fitting)[2]] if fitting else None
    return found


def families_of(rows: Sequence[MethodSummary]) -> list[str]:
    """Names of families without duplicates, in the order of first appearance."""
    return list(dict.fromkeys(row.family for row in rows))


def _frame_ms(scores: ClipScores) -> float:
    counted = [frame.latency_ms for frame in scores.frames[1:]]
    return float(np.mean(counted)) if counted else math.nan
