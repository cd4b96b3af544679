"""Measures of accuracy in reports: names, symbols and definitions."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.errors import OptionError
from fluxshard.evaluate.metrics.clip_scores import ClipScores


@dataclass(frozen=True, slots=True)
class ReportMeasure:
    """A measure of accuracy.

    Attributes:
      name: attribute of `ClipScores`, and of `FrameScores` if `per_frame`.
      symbol: name in tables and on axes.
      meaning: definition, as part of a sentence.
      per_frame: whether `FrameScores` has it.
    """

    name: str
    symbol: str
    meaning: str
    per_frame: bool = True

    def of_clip(self, scores: ClipScores) -> float | None:
        """Value of a clip; None where it was not measured."""
        value: float | None = getattr(scores, self.name)
        return value

    def of_frames(self, scores: ClipScores) -> list[float | None]:
        """Value of each frame, the first included; None for measures of whole clips."""
        return [getattr(frame, self.name) if self.per_frame else None for frame in scores.frames]


MEASURES: tuple[ReportMeasure, ...] = (
    ReportMeasure("jaccard", "J", "largest mask IoU of a detection with the annotated object"),
    ReportMeasure(
        "mean_jaccard",
        "mean J",
        "largest mask IoU of a detection with the annotated object, averaged over confidences from 0.15 to 0.50: at "
        "one confidence, objects whose score is near it come and go by chance",
    ),
    ReportMeasure("miou", "mIoU", "mean IoU with the dense network's detections"),
    ReportMeasure("oks", "OKS", "mean object keypoint similarity with the dense network's detections"),
    ReportMeasure("f1", "F1", "F1 against the dense network's detections, matched at an IoU of 0.5"),
    ReportMeasure(
        "teacher", "teacher IoU", "mean overlap with the objects that a stronger network finds with a score above 0.4"
    ),
    ReportMeasure(
        "ap", "AP", "average precision with the dense network's detections as ground truth, at 0.50:0.05:0.95", False
    ),
)


def measure_named(name: str) -> ReportMeasure:
    """Looks up a measure by name.

    Raises:
      OptionError: there is no measure of that name.
    """
    for measure in MEASURES:
        if measure.name == name:
            return measure
    raise OptionError(f"there is no measure {name!r}; take one of {', '.join(measure.name for measure in MEASURES)}")
