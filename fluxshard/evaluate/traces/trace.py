"""Traces: what one method did on one clip, frame by frame. Metrics read traces and nothing else."""

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
      score: 0..1.
      box: x1, y1, x2, y2.
      mask: COCO's compressed run lengths (`counts` as text) over the whole picture; None without masks.
      keypoints: x, y, confidence of each keypoint, flat; None without keypoints.
    """

    category: int
    score: float
    box: tuple[float, float, float, float]
    mask: str | None = None
    keypoints: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedFrame:
    """One frame of a method.

    Attributes:
      keyframe: everything was computed.
      compute_ratio: multiply-accumulates over those of the dense, unshifted network.
      recompute_ratio: pixels in the recompute set over all pixels.
      tx_ratio: bytes that offloading the frame would send over those of the raw picture; NaN where nobody says.
      latency_ms: wall clock of the method's call.
      motion_px: standard deviation of the frame's motion vectors, pixels of the network's input.
      objects: by falling score.
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
      clip: the clip's name.
      method: the method's name, unique within an evaluation.
      picture_size: (h, w) of the pictures that objects are in.
      facts: what else is known: model, network shape, options, machine; copied into reports.
      frames: the first one fills the caches and is left out of statistics.
    """

    clip: str
    method: str
    picture_size: tuple[int, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    frames: tuple[TracedFrame, ...] = ()

    def save(self, path: Path) -> None:
        """Writes gzipped JSON; a reader never sees half of it."""
        body = {"format": FORMAT, **asdict(self)}
        # without a time stamp, equal traces are equal files
        write_whole(path, gzip.compress(json.dumps(body, separators=(",", ":")).encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Reads what `save` wrote.

        Raises:
          EvaluationError: not a trace, damaged, or of another format.
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
    keypoints = entry["keypoints"]
    return FoundObject(
        **{**entry, "box": tuple(entry["box"]), "keypoints": None if keypoints is None else tuple(keypoints)}
    )
