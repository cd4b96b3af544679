"""A clip as a camera that never ends: its pictures forwards and backwards, again and again, so that nothing jumps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fluxshard import video
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import ENCODED_FPS, Clip
from fluxshard.files import write_whole
from fluxshard.video import VideoSource
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.sources.image_reader import ImageReader

_FACTS = "facts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopedClip:
    """Pictures of a clip at the network's size, on disk.

    Attributes:
      name: of the clip.
      letterbox: placement of the clip's pictures in them.
      pictures: files in order.
    """

    name: str
    letterbox: Letterbox
    pictures: tuple[Path, ...]

    def open(self, frames: int) -> VideoSource:
        """The camera: so many frames at `ENCODED_FPS`, with packets that are encoded here.

        Args:
          frames: until it ends.
        """
        paths = [self.pictures[number_in_clip(index, len(self.pictures))] for index in range(frames)]
        reader = ImageReader(paths, self.name, fps=ENCODED_FPS, strict=True)
        return VideoSource(
            reader, self.letterbox.size, max_frames=None, fps=None, stride=1, vectors="auto", packets=True
        )


def number_in_clip(index: int, count: int) -> int:
    """Which picture of a clip of `count` a looped one shows at a frame: 0, 1, 2, 1, 0, 1, ... for three."""
    if count == 1:
        return 0
    turn = index % (2 * count - 2)
    return min(turn, 2 * count - 2 - turn)


def write_pictures(clip: Clip, size: tuple[int, int], max_frames: int | None, folder: Path) -> None:
    """Writes a clip's letterboxed pictures without loss, where they are not there yet.

    Args:
      clip: to read.
      size: (H, W) of the images.
      max_frames: of the clip; None for all.
      folder: for the files.

    Raises:
      VideoError: the clip cannot be read.
    """
    if (folder / _FACTS).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    fps = ENCODED_FPS if clip.source.is_file() else None
    count = 0
    with video.open(clip.source, size=size, max_frames=max_frames, fps=fps, vectors="none") as source:
        for frame in source:
            # bitmaps: reading them takes a camera no time
            Image.fromarray(np.ascontiguousarray(frame.pixels)).save(folder / f"{count:05d}.bmp")
            count += 1
        box = source.letterbox
    facts = {
        "name": clip.name, "count": count, "picture": box.picture_size, "size": box.size,
        "aspect": str(source.pixel_aspect),
    }  # fmt: skip
    write_whole(folder / _FACTS, json.dumps(facts).encode())


def read_pictures(folder: Path) -> LoopedClip:
    """The clip that `write_pictures` has written.

    Raises:
      EvaluationError: it has not, or the files are damaged.
    """
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        aspect, *rest = (int(part) for part in facts["aspect"].split("/"))
        picture, size = (tuple(facts[name]) for name in ("picture", "size"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"pictures in {str(folder)!r} cannot be read ({error}): delete them") from error
    from fractions import Fraction

    paths = tuple(folder / f"{number:05d}.bmp" for number in range(facts["count"]))
    return LoopedClip(name=facts["name"], letterbox=Letterbox(picture, size, Fraction(aspect, *rest)), pictures=paths)
