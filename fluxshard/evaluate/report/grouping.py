"""Which scores belong together: by method, by clip, by family; and what the measures are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxshard.errors import EvaluationError, OptionError
from fluxshard.evaluate.metrics.clip_scores import ClipScores


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of accuracy.

    Attributes:
      name: attribute of `ClipScores`, and of `FrameScores` if `per_frame`.
      symbol: what tables and axes call it.
      meaning: what is compared with what, as part of a sentence.
      per_frame: frames have it as well.
    """

    name: str
    symbol: str
    meaning: str
    per_frame: bool = True

    def of_clip(self, scores: ClipScores) -> float | None:
        """The measure over a clip; None where it was not measured."""
        value: float | None = getattr(scores, self.name)
        return value

    def of_frames(self, scores: ClipScores) -> list[float | None]:
        """The measure of each frame, the first included; all None for measures of whole clips only."""
        return [getattr(frame, self.name) if self.per_frame else None for frame in scores.frames]


MEASURES: tuple[Measure, ...] = (
    Measure("jaccard", "J", "largest mask IoU of a detection with the annotated object"),
    Measure("miou", "mIoU", "mean IoU with the dense network's detections"),
    Measure("oks", "OKS", "mean object keypoint similarity with the dense network's detections"),
    Measure("f1", "F1", "F1 against the dense network's detections, matched at an IoU of 0.5"),
    Measure(
        "ap", "AP", "average precision with the dense network's detections as ground truth, at 0.50:0.05:0.95", False
    ),
)


def measure_named(name: str) -> Measure:
    """The measure of this name.

    Raises:
      OptionError: there is none.
    """
    for measure in MEASURES:
        if measure.name == name:
            return measure
    raise OptionError(f"there is no measure {name!r}; take one of {', '.join(measure.name for measure in MEASURES)}")


def by_method(scores: Sequence[ClipScores]) -> dict[str, dict[str, ClipScores]]:
    """Scores as method → clip → scores, in the order in which they came.

    Raises:
      EvaluationError: there are none, or two of one method and clip.
    """
    if not scores:
        raise EvaluationError("there are no scores to report; evaluate at least the dense network on one clip")
    found: dict[str, dict[str, ClipScores]] = {}
    for entry in scores:
        clips = found.setdefault(entry.method, {})
        if entry.clip in clips:
            raise EvaluationError(
                f"there are two scores of {entry.method!r} on clip {entry.clip!r}; give methods names of their own"
            )
        clips[entry.clip] = entry
    return found


def scores_of(methods: Mapping[str, Mapping[str, ClipScores]], method: str) -> Mapping[str, ClipScores]:
    """One method of `by_method`, by clip.

    Raises:
      EvaluationError: it was not evaluated.
    """
    if method not in methods:
        raise EvaluationError(f"there are no scores of {method!r}; there are {', '.join(map(repr, methods))}")
    return methods[method]


def score_of(methods: Mapping[str, Mapping[str, ClipScores]], method: str, clip: str) -> ClipScores:
    """One method of `by_method` on one clip.

    Raises:
      EvaluationError: it was not evaluated there.
    """
    clips = scores_of(methods, method)
    if clip not in clips:
        raise EvaluationError(f"{method!r} has no scores on clip {clip!r}; it has {', '.join(map(repr, clips))}")
    return clips[clip]


def family_of(scores: ClipScores) -> str:
    """Methods of one family are settings of the same thing; a method without one is a family of its own."""
    return str(scores.facts.get("family") or scores.method)


def parameter_of(scores: ClipScores) -> str:
    """What tells the method from others of its family: a fact, or what its name has beyond that of the family.

    Empty where nothing does.
    """
    if scores.facts.get("parameter"):
        return str(scores.facts["parameter"])
    family = family_of(scores)
    return scores.method.removeprefix(family).strip(" @:,") if scores.method.startswith(family) else ""


def label_of(scores: ClipScores) -> str:
    """What pictures call the method."""
    return str(scores.facts.get("label") or scores.method)
