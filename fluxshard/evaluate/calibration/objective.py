"""Objective of a calibration: compute ratio of a method, and the fraction of dense accuracy that it retains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.method import Method, dense_method
from fluxshard.evaluate.metrics.search_accuracy import CONFIDENCES, SearchMeasure, accuracies
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.workers import FinishedTask, Task, WorkerPool

LEAST_FRAMES = 5
WORST_CLIP = 5.0  # largest allowed ratio of one clip's loss to the mean loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Request for a calibration.

    Attributes:
      clips: clips to calibrate on.
      alpha: fraction of the dense network's accuracy to retain (the paper's alpha).
      policy: "planned" or "propagated".
      split: fraction of the accuracy budget for the input's threshold (the paper's r); propagated reuse only.
      measure: "jaccard" against the clips' annotations, "agreement" with the dense network, or "auto": annotations
        where all clips have them.
      most_points: maximum number of points to measure; planned reuse only.
      truncation_points: number of layers with thresholds, islands not counted; propagated reuse only.

    Raises:
      EvaluationError: `alpha` or `split` is out of range, or there are no clips.
    """

    clips: tuple[Clip, ...]
    alpha: float = 0.97
    policy: Literal["planned", "propagated"] = "planned"
    split: float = 2 / 3
    measure: SearchMeasure | Literal["auto"] = "auto"
    most_points: int = 80
    truncation_points: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise EvaluationError(f"alpha (={self.alpha}) must be above 0 and at most 1")
        if not 0 <= self.split <= 1:
            raise EvaluationError(f"split (={self.split}) must lie between 0 and 1")
        if not self.clips:
            raise EvaluationError("calibration needs at least one clip")


@dataclass(slots=True)
class Objective:
    """Reference that the points of a search are measured against; made by `prepare_objective`.

    Attributes:
      measure: measure of accuracy.
      dense: trace of the dense network by clip name.
      annotations: COCO run lengths per frame by clip name; empty where the measure needs none.
      accuracies: accuracy of the dense network by clip name.
    """

    measure: SearchMeasure
    dense: dict[str, Trace]
    annotations: dict[str, tuple[str, ...]]
    accuracies: dict[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Mean accuracy of the dense network over clips; NaN without clips."""
        return float(np.mean(list(self.accuracies.values()))) if self.accuracies else math.nan

    def retained(self, accuracies: dict[str, float]) -> float:
        """Fraction of dense accuracy retained over all clips, at most 1.

        The mean over clips minus its standard error, since clips are few and the search favours what happens to suit
        them. Each clip is capped at 1: gains are chance and must not offset losses elsewhere. A clip that loses more
        than `WORST_CLIP` times the mean loss determines the result.

        Args:
          accuracies: accuracy by clip name, in the measure of the objective.
        """
        fractions = np.array([accuracies[name] / self.accuracies[name] for name in sorted(self.accuracies)])
        capped = np.minimum(fractions, 1.0)
        error = float(capped.std(ddof=1) / np.sqrt(len(capped))) if len(capped) > 1 else 0.0
        return min(float(capped.mean()) - error, 1 - (1 - float(fractions.min())) / WORST_CLIP)

    def accuracy_of(self, finished: FinishedTask) -> float:
        """Mean accuracy over the frames of a trace; NaN where no frame has anything to measure."""
        name = finished.task.clip.name
        values = accuracies(finished.trace, self.dense[name], self.annotations.get(name))
        return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def prepare_objective(
    request: Calibration, pool: WorkerPool, on_frames: Callable[[int], None] = lambda _: None
) -> Objective:
    """Runs the dense network over all clips and measures its accuracy.

    Raises:
      EvaluationError: a clip is too short or lacks the annotations that the measure needs, or the dense network detects
        nothing in it.
    """
    finished = {one.task.clip.name: one for one in pool.run(_tasks(dense_method(), request.clips), on_frames)}
    for name, one in finished.items():
        if len(one.trace.frames) < LEAST_FRAMES:
            raise EvaluationError(
                f"clip {name!r} has {len(one.trace.frames)} frames; calibration needs at least {LEAST_FRAMES}: the "
                "first one fills the caches and says nothing of reuse"
            )
    annotated = {name: one.annotations for name, one in finished.items() if one.annotations is not None}
    measure: SearchMeasure = "jaccard" if len(annotated) == len(finished) else "agreement"
    if request.measure != "auto":
        measure = request.measure
    if measure == "jaccard" and len(annotated) < len(finished):
        missing = sorted(set(finished) - set(annotated))
        raise EvaluationError(f"measure 'jaccard' needs annotations, which {', '.join(missing)} lacks; use 'agreement'")
    objective = Objective(
        measure,
        {name: one.trace for name, one in finished.items()},
        annotated if measure == "jaccard" else {},
    )
    found = sum(len(frame.objects) for one in finished.values() for frame in one.trace.frames)
    values = {name: objective.accuracy_of(one) for name, one in finished.items()}
    nothing = sorted(name for name, value in values.items() if math.isnan(value) or value == 0)
    if not found or nothing:
        raise EvaluationError(
            f"the dense network finds nothing above a confidence of {CONFIDENCES[0]} in {', '.join(nothing) or 'any'}: "
            "there is no accuracy to keep; give clips that show what the network was trained for"
        )
    objective.accuracies = values
    return objective


def measure_method(
    method: Method,
    request: Calibration,
    objective: Objective,
    pool: WorkerPool,
    on_frames: Callable[[int], None] = lambda _: None,
) -> tuple[float, float]:
    """Runs a method over the clips and measures it.

    Args:
      method: method to run.
      request: its clips are used.
      objective: reference of accuracy.
      pool: worker processes that run the method.
      on_frames: receives the number of frames done since its last call.

    Returns:
      mean compute ratio over clips, first frames left out, and the fraction of dense accuracy retained.
    """
    work: dict[str, float] = {}
    accuracy: dict[str, float] = {}
    for one in pool.run(_tasks(method, request.clips), on_frames):
        name = one.task.clip.name
        work[name] = float(np.mean([frame.compute_ratio for frame in one.trace.frames[1:]]))
        accuracy[name] = objective.accuracy_of(one)
    # sorted by name: the order in which clips finish must not change the last bit
    return float(np.mean([work[name] for name in sorted(work)])), objective.retained(accuracy)


def _tasks(method: Method, clips: Sequence[Clip]) -> list[Task]:
    return [Task(method, clip) for clip in clips]
