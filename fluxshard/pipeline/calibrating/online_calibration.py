"""Decides which frames of a stream are computed whole, and what is learnt from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from fluxshard.models.detections.detections import Detections
from fluxshard.pipeline.calibrating.options import CalibrationOptions
from fluxshard.pipeline.calibrating.threshold_scale import ThresholdScale
from fluxshard.pipeline.carrying.result_error import result_error
from fluxshard.runtime.planned.planner import PlannedFrame

_FITS = 1.25  # a scale that changes by less was right
_RAREST = 4  # times the usual distance between frames that are computed whole


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedFrame:
    """What online calibration did at a frame.

    Attributes:
      scale: factor on the thresholds of the frame.
      error: 1 less the similarity of the frame's planned result to the whole one, 0..1; None where the frame was not
        computed whole.
    """

    scale: float
    error: float | None = None


class ScaledSession(Protocol):
    """The part of `fluxshard.Session` that is used; see there."""

    def run_whole(self, image: Tensor) -> Any:
        """Runs a frame whole; the frames after it reuse what it computed."""
        ...

    def scale_thresholds(self, scale: float) -> None:
        """Multiplies the thresholds that the session was made with, from the next frame on."""
        ...


class OnlineCalibration:
    """The calibration of one stream. Every frame is counted; one that is due is computed twice, and taken.

    The planned result of such a frame is compared with what the whole network finds on it. Everything follows from the
    frames, so a stream that is run again is calibrated alike.

    Args:
      options: the budget, and how often.
      session: that runs the frames, for planned reuse.
      confidence: detections that score above it count.
    """

    def __init__(self, options: CalibrationOptions, session: ScaledSession, confidence: float) -> None:
        self._options, self._session, self._confidence = options, session, confidence
        self._scale = ThresholdScale(options.budget)
        self._left, self._times = options.first, 1
        session.scale_thresholds(self.scale)

    @property
    def scale(self) -> float:
        """Factor on the thresholds of the next frame."""
        return self._scale.value

    def count(self) -> None:
        """Counts a frame of the stream, computed or not."""
        self._left -= 1

    def is_due(self, planned: PlannedFrame | None) -> bool:
        """Whether the frame that has just run is to be computed whole as well; one that was whole never is."""
        return self._left <= 0 and planned is not None and planned.work is not None

    def run_whole(self, image: Tensor) -> Any:
        """Outputs of the whole network for the frame that has just run."""
        return self._session.run_whole(image)

    def take(self, found: Detections, whole: Detections) -> CalibratedFrame:
        """Takes both results of a frame, and sets the scale of the frames after it.

        Args:
          found: what planned reuse found, down to low scores.
          whole: what the whole network found.
        """
        error = result_error(self._certain(found), self._certain(whole))
        taken = CalibratedFrame(scale=self.scale, error=error)
        step = self._scale.take(error)
        self._times = min(_RAREST, 2 * self._times) if 1 / _FITS < step < _FITS else 1
        self._left = self._times * self._options.every
        self._session.scale_thresholds(self.scale)
        return taken

    def _certain(self, found: Detections) -> Detections:
        return found.select(np.flatnonzero(found.scores > self._confidence))
