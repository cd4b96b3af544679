"""Tables of a report: methods over all clips, frontiers of families, and one method clip by clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.metrics.statistics import relative_loss
from fluxshard.evaluate.report.grouping import by_method, score_of, scores_of
from fluxshard.evaluate.report.measures import ReportMeasure, measure_named
from fluxshard.evaluate.report.summaries import LOSSES, MethodSummary, families_of, frontier
from fluxshard.evaluate.report.text_table import NOTHING, Cell, Table, count, number, percent, words


def summary_table(rows: Sequence[MethodSummary]) -> Table:
    """Table of methods over all clips, without the columns in which all methods are empty.

    Raises:
      EvaluationError: there are no rows.
    """
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
        ("J at one confidence", True, [number(row.jaccard if row.measure == "mean_jaccard" else None) for row in rows]),
        ("mIoU to dense", True, [number(row.miou) for row in rows]),
        ("OKS to dense", True, [number(row.oks) for row in rows]),
        ("AP to dense", True, [number(row.ap) for row in rows]),
        ("F1 to dense", True, [number(row.f1) for row in rows]),
        ("discovery median", True, [count(row.discovery_median) for row in rows]),
        ("discovery 90%", True, [count(row.discovery_p90) for row in rows]),
        ("ms a frame", True, [number(row.frame_ms, 1) for row in rows]),
        ("latency ratio", True, [number(row.latency_ratio, 2) for row in rows]),
        ("drift", True, [number(row.drift, signed=True) for row in rows]),
    ]
    # the measure of accuracy already has a column
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
    """Name and relative loss of the worst clip."""
    if row.worst_clip is None or row.worst_loss is None:
        return Cell(NOTHING)
    return Cell(f"{row.worst_clip} ({percent(row.worst_loss).text})", row.worst_loss)


def _notes(rows: Sequence[MethodSummary], measure: ReportMeasure, dense: str) -> tuple[str, ...]:
    """Definitions of the columns."""
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
        "ms a frame: mean over the frames of a clip and over clips; decoding of detections not included. "
        f"latency ratio: median latency over that of {dense!r} in the same clip. "
        "drift: change of mIoU (OKS for poses) to dense per 100 frames.",
    ]
    if len({frozenset(row.clips) for row in rows}) > 1:
        notes.append("Not all methods were evaluated on the same clips: compare losses and ratios, not means.")
    return tuple(notes)


def markdown_table(rows: Sequence[MethodSummary]) -> str:
    """`summary_table` as GitHub Flavored Markdown.

    Raises:
      EvaluationError: there are no rows.
    """
    return summary_table(rows).markdown()


def frontier_table(rows: Sequence[MethodSummary], losses: Sequence[float] = LOSSES) -> Table:
    """Table of families × losses: least compute ratio and its setting; '—' where no setting is within the loss.

    Raises:
      EvaluationError: there are no rows.
    """
    if not rows:
        raise EvaluationError("there are no summaries to show; see summary_rows")
    measure, dense = measure_named(rows[0].measure), rows[0].dense
    settings = [row for row in rows if row.method != dense]
    lines: list[tuple[Cell, ...]] = []
    for family in families_of(settings):
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
    """Compute ratio and setting."""
    if row is None:
        return Cell(NOTHING)
    cell = percent(row.compute)
    return Cell(f"{cell.text} ({row.parameter})", cell.value) if row.parameter else cell


def per_clip_table(
    scores: Sequence[ClipScores], method: str, *, dense: str = "dense", measure: str = "jaccard"
) -> Table:
    """Table of one method, one row per clip.

    The worst frame is the one whose measure is furthest below the dense network's; '—' where no frame is below.

    Args:
      scores: scores of both methods.
      method: name of the method.
      dense: name of the method to compare with.
      measure: name of the measure of accuracy.

    Raises:
      EvaluationError: there are no scores of `method` or `dense`, no clip in common, or unequal numbers of frames.
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


def _clip_row(scores: ClipScores, against: ClipScores, measure: ReportMeasure) -> tuple[Cell, ...]:
    """Cells of one clip; `against` are the scores of the dense network."""
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


def _worst_frame(scores: ClipScores, against: ClipScores, measure: ReportMeasure) -> Cell:
    """Number of the frame furthest below the dense network, and the difference."""
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
