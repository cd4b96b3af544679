"""Scores: what the metrics say of one trace. Tables, plots and reports read scores and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScores:
    """Metrics of one frame; None where there is nothing to measure against.

    Attributes:
      compute_ratio, recompute_ratio, tx_ratio, latency_ms, motion_px, keyframe: as in `TracedFrame`.
      jaccard: largest mask IoU of a confident detection with the annotated object: J. 0 if none overlaps.
      miou: mean over the dense network's confident detections of the IoU of the mask (box, where there are no masks)
        of their best partner of the same class; 0 for those without one.
      oks: the same with object keypoint similarity.
      f1: of the confident detections against those of the dense network, matched at an IoU of 0.5.
    """

    compute_ratio: float
    recompute_ratio: float
    tx_ratio: float
    latency_ms: float
    motion_px: float
    keyframe: bool
    jaccard: float | None = None
    miou: float | None = None
    oks: float | None = None
    f1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScores:
    """Metrics of one method on one clip. Means leave out the first frame, which fills the caches.

    Attributes:
      clip, method: of the trace.
      facts: of the trace.
      frames: per frame, the first included.
      compute_ratio, recompute_ratio, tx_ratio: means.
      latency_ms: median.
      jaccard: mean J against annotations; None without them.
      miou, oks, f1: means, against the dense network.
      ap: average precision against the dense network's confident detections as ground truth, by the task's own measure:
        mask IoU, box IoU or OKS, averaged over thresholds 0.50:0.05:0.95 (COCO).
      discovery_frames: for every object that the dense network begins to find in the clip and goes on finding, frames
        until this method finds it; the object's remaining life where it never does.
      drift: change of `miou` (`oks` for poses) per 100 frames, by least squares; None for clips under 10 frames.
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
    miou: float | None = None
    oks: float | None = None
    f1: float | None = None
    ap: float | None = None
    discovery_frames: tuple[int, ...] = ()
    drift: float | None = None
