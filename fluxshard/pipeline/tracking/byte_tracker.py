"""ByteTrack: which detections of successive frames are the same object. The tracker is that of the `trackers` package.

Source: Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV 2022.
"""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np

from fluxshard.errors import MissingExtraError, OptionError
from fluxshard.models.detections.detections import Detections
from fluxshard.options import check_share

TRACKED_CONFIDENCE = 0.1  # detections that score above it keep tracks. Source: Ultralytics' bytetrack.yaml
_USUAL_FPS = 30.0
_INDEX = "fluxshard_index"


class ByteTracker:
    """Gives the detections of one stream identities. Call it with those of every frame, in their order.

    Args:
      confidence: detections that score above it start tracks, and are matched first; fainter ones keep tracks that go
        on without another.
      fps: of the frames; it takes a second to forget an object. None: 30.

    Raises:
      MissingExtraError: the package `trackers` is not installed.
      OptionError: a confidence outside 0..1, or a rate that is not above 0.
    """

    def __init__(self, confidence: float = 0.25, fps: float | None = None) -> None:
        check_share("confidence", confidence)
        if fps is not None and not 0 < fps < float("inf"):
            raise OptionError(f"fps (={fps!r}) must be a finite number above 0, or None")
        try:
            trackers = importlib.import_module("trackers")
            self._supervision = importlib.import_module("supervision")
        except ImportError as error:
            raise MissingExtraError(
                f"tracking needs the package {error.name or 'trackers'}, which cannot be imported; run: "
                "pip install 'fluxshard[track]'"
            ) from error
        self._tracker = trackers.ByteTrackTracker(
            frame_rate=_USUAL_FPS if fps is None else fps,
            track_activation_threshold=confidence,
            high_conf_det_threshold=confidence,
        )

    def __call__(self, found: Detections) -> Detections:
        """The same detections with `ids`: -1 for those that are new, or too faint to be an object of their own."""
        given = self._supervision.Detections(
            xyxy=found.boxes.reshape(-1, 4).astype(np.float64),
            confidence=found.scores.astype(np.float64),
            class_id=found.classes.astype(int),
            data={_INDEX: np.arange(len(found))},
        )
        tracked = self._tracker.update(given)
        ids = np.full(len(found), -1, np.int64)
        if len(tracked):
            ids[tracked.data[_INDEX]] = tracked.tracker_id
        return replace(found, ids=ids)
