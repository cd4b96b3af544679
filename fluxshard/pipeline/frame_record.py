"""The record of one frame of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluxshard.models.detections.agreement import Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """Figures of one frame; pictures and detections are not kept.

    Attributes:
      frame: index in the video.
      time_s: presentation time; None where the source has none.
      stats: fields of the session's FrameStats as JSON-like values; `motion_source` is what the video says.
      incremental_ms, dense_ms: wall clock of the calls, until the device has done them; dense_ms is None where dense
        was not run.
      decode_ms: post-processing of the incremental outputs.
      focus_ms: marking the regions of the detections and handing them to the session.
      source_ms: decoding the video, placing the picture, finding its motion and copying the image to the device.
      age_ms: from the frame's capture until its results were there.
      agreement: detections against those of the dense network.
      scores: how the result of a network without detections agrees with that of the dense one, by measure (see
        `TaskResult.agreement`); None where that was not compared.
      max_difference: largest absolute difference of the raw outputs; None where they are those of a larger canvas.
      detections: how many were found.
      origin: (y, x) of the image on what the outputs describe.
      planned_work: multiply-accumulates that were planned for the frame before it ran, over those of the network on
        what the outputs describe; None for other policies than planned. A frame that online calibration has computed
        whole as well counts both.
      carried: frames since the one that was computed for this result, which was moved here; 0: this one was.
      calibrated: `scale` on the thresholds, and `error` of the planned result against the whole one, None where the
        frame was not computed whole; None without online calibration.
      placement: where the frame ran, and all that was known when that was decided; None in one place.
      gap_s: seconds without frames before this one, where a live source broke off or was paused.
    """

    frame: int
    time_s: float | None
    stats: Mapping[str, Any]
    incremental_ms: float
    dense_ms: float | None = None
    decode_ms: float = 0.0
    focus_ms: float = 0.0
    source_ms: float = 0.0
    age_ms: float = 0.0
    agreement: Agreement | None = None
    scores: Mapping[str, float | None] | None = None
    max_difference: float | None = None
    detections: int = 0
    origin: tuple[int, int] = (0, 0)
    planned_work: float | None = None
    carried: int = 0
    calibrated: Mapping[str, Any] | None = None
    placement: Mapping[str, Any] | None = None
    gap_s: float = 0.0

    def ratio(self, name: str) -> float:
        """A ratio of the stats; NaN where it is not there."""
        value = self.stats.get(name)
        return float("nan") if value is None else float(value)
