"""Scores of one trace; the only input of tables, plots and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScores:
    """Metrics of one frame; None where there is no reference.

    Attributes:
      compute_ratio, recompute_ratio, tx_ratio, latency_ms, motion_px, keyframe: as in `TracedFrame`.
      jaccard: largest mask IoU of a confident detection with the annotated object, 0 where none overlaps. Source:
        region similarity J of the DAVIS benchmark (Perazzi et al., CVPR 2016), maximised over detections.
      mean_jaccard: the same, averaged over confidences from 0.15 to 0.5; see `search_accuracy`.
      miou: mean over the dense network's confident detections of the largest mask IoU (box IoU without masks) with a
        confident detection of the same class; 0 for those without one.
      oks: as `miou`, with object keypoint similarity. Source: COCO's keypoint evaluation.
      f1: F1 of the confident detections against the dense network's, matched at a box IoU of 0.5.
      teacher: overlap with the objects of a stronger network; see `teacher_overlap`.
    """

    compute_ratio: float
    recompute_ratio: float
    tx_ratio: float
    latency_ms: float
    motion_px: float
    keyframe: bool
    jaccard: float | None = None
    mean_jaccard: float | None = None
    miou: float | None = None
    oks: float | None = None
    f1: float | None = None
    teacher: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScores:
    """Metrics of one method on one clip. Means exclude the first frame, which fills the caches.

    Attributes:
      clip, method, facts: as in `Trace`.
      frames: scores of each frame, the first included.
      compute_ratio, recompute_ratio, tx_ratio: means over frames.
      latency_ms: median over frames.
      jaccard, mean_jaccard: means against annotations; None without annotations.
      miou, oks, f1: means against the dense network.
      teacher: mean against a stronger network; None without one.
      ap: average precision with the dense network's confident detections as ground truth, by mask IoU, box IoU or OKS,
        averaged over thresholds 0.50:0.05:0.95; see `average_precision`.
      discovery_frames: per object that appears in the dense trace, frames until this method detects it; see
        `discovery.discovery_frames`.
      drift: slope of `miou` (`oks` for poses) per 100 frames, by least squares; None for clips under 10 frames.
    """

    clip: str
    method: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    frames: tuple[FrameScores, ...] = ()
    compute_ratio: float
    recompute_ratio: float
    tx_ratio: float
    latency_ms: float
    jaccard: float | None = None
    mean_jaccard: float | None = None
    miou: float | None = None
    oks: float | None = None
    f1: float | None = None
    teacher: float | None = None
    ap: float | None = None
    discovery_frames: tuple[int, ...] = ()
    drift: float | None = None

    def column(self, measure: str) -> NDArray[np.float64]:
        """A field of `FrameScores` of every frame; NaN where there is none."""
        values = [getattr(frame, measure) for frame in self.frames]
        return np.array([np.nan if value is None else value for value in values], np.float64)
