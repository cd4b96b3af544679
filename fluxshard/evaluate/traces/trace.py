"""Trace of one method on one clip, frame by frame; the only input of the metrics."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fluxshard.errors import EvaluationError
from fluxshard.files import write_whole

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """One detection, in pixels of the clip's pictures.

    Attributes:
      category: class index of the model.
      score: confidence, 0..1.
      box: x1, y1, x2, y2.
      mask: COCO's compressed run lengths (`counts`) over the whole picture; None without masks.
      keypoints: x, y, confidence of each keypoint, flattened; None without keypoints.
    """

    category: int
    score: float
    box: tuple[float, float, float, float]
    mask: str | None = None
    keypoints: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedFrame:
    """One frame of a trace.

    Attributes:
      keyframe: whether everything was recomputed.
      compute_ratio: multiply-accumulates over those of the dense network on the image itself.
      recompute_ratio: pixels in the recompute set over all pixels.
      tx_ratio: bytes that offloading the frame would send over bytes of the raw RGB picture; NaN where unknown.
      latency_ms: wall-clock time of the method on the frame.
      motion_px: standard deviation of the frame's motion vectors, in pixels of the network's input ("MV std" in the
        paper's Table I).
      objects: detections in descending order of score.
    """

    keyframe: bool
    compute_ratio: float
    recompute_ratio: float
    tx_ratio: float = float("nan")
    latency_ms: float = float("nan")
    motion_px: float = 0.0
    objects: tuple[FoundObject, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All frames of one method on one clip.

    Attributes:
      clip: name of the clip.
      method: name of the method, unique within an evaluation.
      picture_size: (h, w) of the clip's pictures.
      facts: network, input shape, settings of the method and machine, for reports.
      frames: the first frame fills the caches and is excluded from statistics.
    """

    clip: str
    method: str
    picture_size: tuple[int, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    frames: tuple[TracedFrame, ...] = ()

    def save(self, path: Path) -> None:
        """Writes gzipped JSON atomically."""
        body = {"format": FORMAT, **asdict(self)}
        # mtime=0: equal traces are equal files
        write_whole(path, gzip.compress(json.dumps(body, separators=(",", ":")).encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Reads a file written by `save`.

        Raises:
          EvaluationError: the file is missing, damaged, not a trace, or of another format.
        """
        try:
            body = json.loads(gzip.decompress(path.read_bytes()))
            if body.pop("format") != FORMAT:
                raise EvaluationError(f"trace {str(path)!r} has another format; delete it and evaluate again")
            frames = [
                TracedFrame(**{**frame, "objects": tuple(_object(entry) for entry in frame["objects"])})
                for frame in body.pop("frames")
            ]
            return cls(**{**body, "picture_size": tuple(body["picture_size"]), "frames": tuple(frames)})
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(
                f"trace {str(path)!r} cannot be read ({type(error).__name__}: {error}); delete it and evaluate again"
            ) from error


def _object(entry: dict[str, Any]) -> FoundObject:
    """Object of a trace from JSON, whose lists become tuples."""
    keypoints = entry["keypoints"]
    return FoundObject(
        **{**entry, "box": tuple(entry["box"]), "keypoints": None if keypoints is None else tuple(keypoints)}
    )
