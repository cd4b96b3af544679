"""Clips that are made of others: once, of their first pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, prepare
from fluxshard.evaluate.end_to_end.extremes.clips import make_extremes

SIZE = (32, 48)


def clip_of(folder: Path, first: int, frames: int) -> Clip:
    """Pictures of one grey each, lighter from one to the next."""
    folder.mkdir(parents=True)
    for index in range(frames):
        Image.fromarray(np.full((*SIZE, 3), first + index, np.uint8)).save(folder / f"{index:02d}.png")
    return Clip(folder.name, folder)


def greys(clip: Clip) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in prepare(clip, SIZE).pixels]


def test_a_still_clip_and_a_cut(tmp_path: Path) -> None:
    clips = [clip_of(tmp_path / "cows", 10, 12), clip_of(tmp_path / "dogs", 200, 5)]
    still, cut = make_extremes(clips, SIZE, tmp_path / "out")
    assert still.clip.name == "still" and greys(still.clip) == [10] * 12 and still.cut is None
    assert greys(cut.clip) == [*range(10, 19), 200, 201, 202] and cut.cut == 9
    assert still.made_of == ("cows",) and cut.made_of == ("cows", "dogs")

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert make_extremes(clips, SIZE, tmp_path / "out") == (still, cut)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")} == times
    fewer = make_extremes(clips, SIZE, tmp_path / "out", frames=8)
    assert len(greys(fewer[1].clip)) == 8 and fewer[1].cut == 6


def test_what_cannot_be_made(tmp_path: Path) -> None:
    long, short = clip_of(tmp_path / "long", 10, 12), clip_of(tmp_path / "short", 200, 2)
    with pytest.raises(EvaluationError, match="two clips, and there are 1"):
        make_extremes([long], SIZE, tmp_path / "out")
    for clips in ([long, short], [short, long]):
        with pytest.raises(EvaluationError, match=r"2\b.*frames|frames.* 2\b"):
            make_extremes(clips, SIZE, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))
