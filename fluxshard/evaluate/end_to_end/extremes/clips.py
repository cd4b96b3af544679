"""Clips of the ends of motion, made of others: a picture that stands still, and a cut from one clip to another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, prepare

FOLDER = "clips"
FRAMES = 50  # of each clip, where the others have as many
LEAST_FRAMES = 8  # of the first of the others; a quarter of them, of the second
FORMAT = 1

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extreme:
    """A clip that was made. Whoever evaluates it encodes its pictures as one video.

    Attributes:
      clip: its pictures, of the network's size.
      made_of: names of the clips whose pictures they are.
      cut: number of the first frame after the cut; None without one.
    """

    clip: Clip
    made_of: tuple[str, ...]
    cut: int | None = None


def make_extremes(clips: Sequence[Clip], size: tuple[int, int], out: Path, frames: int = FRAMES) -> tuple[Extreme, ...]:
    """The first clip's first picture, as often as it has frames; and three quarters of it, one of the next.

    A replay starts over at half of a clip, so it sees as much of both.

    Args:
      clips: two or more.
      size: (H, W) of the network's input.
      out: directory of the evaluation.
      frames: of each, at most.

    Raises:
      EvaluationError: there are not two clips, or they are too short, or cannot be read.
    """
    if len(clips) < 2:
        raise EvaluationError(f"a cut needs two clips, and there are {len(clips)}: give one more")
    first, second = clips[:2]
    facts = [FORMAT, str(first.source.resolve()), str(second.source.resolve()), size, frames]
    folder = out / FOLDER / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    if not folder.exists():
        shown, after = (prepare(clip, size, frames).pixels for clip in (first, second))
        before = len(shown) * 3 // 4
        if len(shown) < LEAST_FRAMES or len(after) < len(shown) - before:
            raise EvaluationError(
                f"{first.name!r} has {len(shown)} frames and {second.name!r} {len(after)}; a cut from one to the other "
                f"needs {LEAST_FRAMES} and a quarter of that"
            )
        part = folder.with_name(folder.name + ".part")  # a run that was stopped leaves no half of a clip
        _write(part / "still", [shown[0]] * len(shown))
        _write(part / "cut", [*shown[:before], *after[: len(shown) - before]])
        part.rename(folder)
    cut = len(list((folder / "cut").glob("*.png"))) * 3 // 4
    return (
        Extreme(clip=Clip("still", folder / "still"), made_of=(first.name,)),
        Extreme(clip=Clip("cut", folder / "cut"), made_of=(first.name, second.name), cut=cut),
    )


def _write(folder: Path, pictures: Sequence[Pixels]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:04d}.png")
