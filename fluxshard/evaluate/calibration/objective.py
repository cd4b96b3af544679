"""Calibration: the thresholds that do the least work at a budget of accuracy, for one network."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.calibration.coordinate_descent import Visited, pareto
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.method import Method, dense_method
from fluxshard.evaluate.metrics.search_accuracy import CONFIDENCES, Measure, accuracies
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.workers import Finished, Task, WorkerPool

LEAST_FRAMES = 5
WORST_CLIP = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What is asked for.

    Attributes:
      clips: to calibrate on.
      alpha: accuracy to keep, as a share of the dense network's.
      policy: "planned" or "propagated".
      split: share of the budget for the input's threshold (the paper's r); for "propagated".
      measure: "jaccard" against the clips' annotations, "agreement" with the dense network, or "auto": annotations
        where all clips have them.
      most_points: stops after so many measurements.
      truncation_points: layers that get thresholds; for "propagated".
    """

    clips: tuple[Clip, ...]
    alpha: float = 0.97
    policy: Literal["planned", "propagated"] = "planned"
    split: float = 2 / 3
    measure: Measure | Literal["auto"] = "auto"
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
    """What points are measured against; made by `prepare_ground`.

    Attributes:
      measure: that is used.
      dense: trace of the dense network per clip.
      annotations: run lengths per clip; empty where the measure needs none.
      accuracies: of the dense network itself per clip, in the measure.
    """

    measure: Measure
    dense: dict[str, Trace]
    annotations: dict[str, tuple[str, ...]]
    accuracies: dict[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Mean of the dense network's over the clips."""
        return float(np.mean(list(self.accuracies.values()))) if self.accuracies else math.nan

    def kept(self, accuracies: dict[str, float]) -> float:
        """What share of the dense network's accuracy is kept over all clips, 1 at most.

        It is the mean over clips less its standard error, for the clips at hand are few, and the search picks what
        happens to suit them. A clip that gains counts as 1: gains are chance, and must not pay for losses elsewhere.
        And no clip may lose more than `WORST_CLIP` times as much as the mean: if one does, it decides.

        Args:
          accuracies: per clip, in the measure.
        """
        shares = np.array([accuracies[name] / self.accuracies[name] for name in sorted(self.accuracies)])
        capped = np.minimum(shares, 1.0)
        error = float(capped.std(ddof=1) / np.sqrt(len(capped))) if len(capped) > 1 else 0.0
        return min(float(capped.mean()) - error, 1 - (1 - float(shares.min())) / WORST_CLIP)

    def accuracy_of(self, finished: Finished) -> float:
        """Mean accuracy over the frames of a trace; NaN where none has anything to measure."""
        name = finished.task.clip.name
        values = accuracies(finished.trace, self.dense[name], self.annotations.get(name))
        return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def prepare_ground(
    request: Calibration, pool: WorkerPool, on_frames: Callable[[int], None] = lambda _: None
) -> Objective:
    """Runs the dense network over all clips.

    Raises:
      EvaluationError: a clip is too short, or the dense network finds nothing to calibrate on.
    """
    finished = {one.task.clip.name: one for one in pool.run(_tasks(dense_method(), request.clips), on_frames)}
    for name, one in finished.items():
        if len(one.trace.frames) < LEAST_FRAMES:
            raise EvaluationError(
                f"clip {name!r} has {len(one.trace.frames)} frames; calibration needs at least {LEAST_FRAMES}: the "
                "first one fills the caches and says nothing of reuse"
            )
    annotated = {name: one.annotations for name, one in finished.items() if one.annotations is not None}
    measure: Measure = "jaccard" if len(annotated) == len(finished) else "agreement"
    if request.measure != "auto":
        measure = request.measure
    if measure == "jaccard" and len(annotated) < len(finished):
        missing = sorted(set(finished) - set(annotated))
        raise EvaluationError(f"measure 'jaccard' needs annotations, which {', '.join(missing)} lacks; use 'agreement'")
    ground = Objective(
        measure,
        {name: one.trace for name, one in finished.items()},
        annotated if measure == "jaccard" else {},
    )
    found = sum(len(frame.objects) for one in finished.values() for frame in one.trace.frames)
    values = {name: ground.accuracy_of(one) for name, one in finished.items()}
    nothing = sorted(name for name, value in values.items() if math.isnan(value) or value == 0)
    if not found or nothing:
        raise EvaluationError(
            f"the dense network finds nothing above a confidence of {CONFIDENCES[0]} in {', '.join(nothing) or 'any'}: "
            "there is no accuracy to keep; give clips that show what the network was trained for"
        )
    ground.accuracies = values
    return ground


def measure_method(
    method: Method,
    request: Calibration,
    ground: Objective,
    pool: WorkerPool,
    on_frames: Callable[[int], None] = lambda _: None,
) -> tuple[float, float]:
    """Mean compute ratio of a method over the clips, and the share of the dense network's accuracy that it keeps."""
    work: dict[str, float] = {}
    accuracy: dict[str, float] = {}
    for one in pool.run(_tasks(method, request.clips), on_frames):
        name = one.task.clip.name
        work[name] = float(np.mean([frame.compute_ratio for frame in one.trace.frames[1:]]))
        accuracy[name] = ground.accuracy_of(one)
    # in order of name: the order in which clips finish must not show in the last bit
    return float(np.mean([work[name] for name in sorted(work)])), ground.kept(accuracy)


class SearchLog:
    """Points that a search has measured, kept line by line, so that it goes on where it was stopped.

    Args:
      path: file to append to; it is made on the first point.
      question: what was asked for, in plain values; a log of another question is not used.
    """

    def __init__(self, path: Path, question: dict[str, Any]) -> None:
        self._path = path
        self._digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()

    def read(self) -> list[Visited]:
        """Points of earlier searches for the same question; a damaged line is left out."""
        points = []
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["question"] == self._digest:
                        points.append(Visited(entry["point"], float(entry["work"]), float(entry["accuracy"])))
                except (ValueError, KeyError, TypeError):
                    continue
        return points

    def add(self, visited: Visited) -> None:
        """Keeps a point."""
        entry = {
            "question": self._digest,
            "point": dict(visited.point),
            "work": visited.work,
            "accuracy": visited.accuracy,
        }
        # a search that was stopped while it wrote left half a line, which must not swallow this one
        is_cut = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if is_cut else "") + json.dumps(entry) + "\n")


def frontier_facts(visited: Sequence[Visited]) -> list[dict[str, Any]]:
    """The frontier that a search saw, for the profile: work, and accuracy as a share of the dense network's."""
    return [{"work": one.work, "accuracy": one.accuracy, "point": dict(one.point)} for one in pareto(visited)]


def _tasks(method: Method, clips: Sequence[Clip]) -> list[Task]:
    return [Task(method, clip) for clip in clips]
