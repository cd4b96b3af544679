"""Clips to evaluate on: videos and DAVIS sequences, decoded once into uint8 images.

Source: the directory layout of DAVIS 2016 and 2017 (Pont-Tuset et al., arXiv:1704.00675).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fluxshard import video
from fluxshard.errors import EvaluationError, VideoError
from fluxshard.motion import MotionField
from fluxshard.video.letterbox import Letterbox, to_image
from fluxshard.video.sources.image_reader import IMAGE_SUFFIXES

ENCODED_FPS = 30.0
VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v"))


@dataclass(frozen=True, slots=True)
class Clip:
    """A video and, where available, masks of its annotated object.

    Attributes:
      name: name, unique within an evaluation.
      source: video file or directory of images.
      annotations: directory with one PNG per image, non-zero on the object; None without annotations.
    """

    name: str
    source: Path
    annotations: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedClip:
    """Decoded frames of a clip at the network's input size.

    Attributes:
      name: name of the clip.
      letterbox: placement of pictures in images.
      pixels: letterboxed frames, `(H, W, 3)` uint8 RGB each.
      motion: motion of each frame since the previous one; None where unknown.
      annotations: `(h, w)` bool per frame in picture pixels, True on the object; None without annotations.
    """

    name: str
    letterbox: Letterbox
    pixels: tuple[NDArray[np.uint8], ...]
    motion: tuple[MotionField | None, ...]
    annotations: tuple[NDArray[np.bool_], ...] | None

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Tensor:
        """Network input of frame `index`: `(1, 3, H, W)` float32 in 0..1."""
        return to_image(self.pixels[index])


def find_clips(places: Sequence[Path]) -> list[Clip]:
    """Finds the clips at each path: a video file, a directory of videos or images, or a directory in DAVIS layout.

    DAVIS layout has images in `JPEGImages/480p/NAME` and masks in `Annotations/480p/NAME`.

    Raises:
      EvaluationError: a path does not exist or holds no clip, or two clips have the same name.
    """
    clips = [clip for place in places for clip in _clips_at(Path(place))]
    names = [clip.name for clip in clips]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EvaluationError(f"clips: {', '.join(twice)} appears twice; names of clips must differ")
    return clips


def _clips_at(place: Path) -> list[Clip]:
    """Clips at one path.

    Raises:
      EvaluationError: the path does not exist or holds no clip.
    """
    if not place.exists():
        raise EvaluationError(f"clips: {str(place)!r} does not exist; give videos, or directories of them")
    if place.is_file():
        return [Clip(place.stem, place)]
    if (place / "JPEGImages").is_dir():
        images = place / "JPEGImages" / "480p"
        images = images if images.is_dir() else place / "JPEGImages"
        masks = place / "Annotations" / images.relative_to(place / "JPEGImages")
        clips = [
            Clip(path.name, path, masks / path.name if (masks / path.name).is_dir() else None)
            for path in sorted(images.iterdir())
            if path.is_dir()
        ]
    else:
        clips = [Clip(path.stem, path) for path in sorted(place.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
        if not clips and any(path.suffix.lower() in IMAGE_SUFFIXES for path in place.iterdir()):
            clips = [Clip(place.name, place)]
    if not clips:
        raise EvaluationError(
            f"clips: {str(place)!r} holds neither videos nor images nor a DAVIS layout (JPEGImages/480p/NAME)"
        )
    return clips


def prepare(clip: Clip, size: tuple[int, int], max_frames: int | None = None, *, encoded: bool = False) -> PreparedClip:
    """Decodes a clip, letterboxes its pictures and reads their motion.

    Args:
      clip: clip to decode.
      size: (H, W) of the network's input.
      max_frames: maximum number of frames; None decodes all.
      encoded: the letterboxed pictures, at most `ENCODED_FPS` of a file a second, are encoded as H.264 first; pixels
        and motion are those of that video, as an edge whose camera has no usable video sees them.

    Raises:
      EvaluationError: the clip cannot be read, or its annotations do not match it in number or size.
    """
    pixels, motion = [], []
    try:
        with _opened(clip, size, max_frames, encoded) as source:
            letterbox = source.letterbox
            for frame in source:
                pixels.append(frame.pixels)
                motion.append(frame.motion)
    except VideoError as error:
        raise EvaluationError(f"clip {clip.name!r}: {error}") from error
    annotations = annotation_masks(clip, len(pixels), letterbox.picture_size)
    return PreparedClip(clip.name, letterbox, tuple(pixels), tuple(motion), annotations)


def _opened(clip: Clip, size: tuple[int, int], max_frames: int | None, encoded: bool) -> video.VideoSource:
    if not encoded:
        return video.open(clip.source, size=size, max_frames=max_frames)
    fps = ENCODED_FPS if clip.source.is_file() else None  # pictures of a directory have no times
    return video.open(clip.source, size=size, max_frames=max_frames, fps=fps, vectors="encode", packets=True)


def annotation_masks(clip: Clip, count: int, picture: tuple[int, int]) -> tuple[NDArray[np.bool_], ...] | None:
    """Annotated masks of the first frames of a clip.

    Args:
      clip: clip with or without annotations.
      count: number of frames.
      picture: (h, w) of the clip's pictures.

    Returns:
      `(h, w)` bool per frame, True on the object; None without annotations.

    Raises:
      EvaluationError: there are fewer masks than frames, or a mask cannot be read or has another size.
    """
    if clip.annotations is None:
        return None
    paths = sorted(clip.annotations.glob("*.png"))
    if len(paths) < count:
        raise EvaluationError(f"clip {clip.name!r} has {count} frames and {len(paths)} annotations; expected as many")
    masks = []
    for path in paths[:count]:
        try:
            with Image.open(path) as image:
                mask = np.asarray(image) > 0
        except Exception as error:  # decoders of damaged files raise anything
            raise EvaluationError(f"annotation {str(path)!r} cannot be read: {error}") from error
        if mask.shape != picture:
            raise EvaluationError(f"annotation {str(path)!r} is {mask.shape}; the clip's pictures are {picture}")
        masks.append(mask)
    return tuple(masks)
