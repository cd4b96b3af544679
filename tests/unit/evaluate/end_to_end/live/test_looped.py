"""A clip as a camera without an end: pictures, their order, and what is wrong with files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.live.looped import number_in_clip, read_pictures, write_pictures


@pytest.mark.parametrize(("count", "numbers"), [(3, [0, 1, 2, 1, 0, 1, 2, 1]), (2, [0, 1, 0, 1, 0]), (1, [0, 0, 0])])
def test_a_clip_goes_forwards_and_backwards(count: int, numbers: list[int]) -> None:
    assert [number_in_clip(index, count) for index in range(len(numbers))] == numbers


def test_pictures_are_written_once_and_shown_in_turns(tmp_path: Path) -> None:
    source = tmp_path / "clip"
    source.mkdir()
    for number in range(4):
        Image.fromarray(np.full((32, 64, 3), 60 * number, np.uint8)).save(source / f"{number}.png")
    clip, folder = Clip("clip", source), tmp_path / "pictures"
    write_pictures(clip, (64, 64), 3, folder)
    found = read_pictures(folder)
    assert (found.name, len(found.pictures)) == ("clip", 3)  # of four
    assert (found.letterbox.picture_size, found.letterbox.size) == ((32, 64), (64, 64))
    with found.open(6) as video:
        frames = list(video)
    assert [round(frame.pixels[32].mean() / 60) for frame in frames] == [0, 1, 2, 1, 0, 1]
    assert [round(frame.pixels[0].mean()) for frame in frames] == pytest.approx(
        [114] * 6, abs=2
    )  # the letterbox's bars
    assert frames[1].time_s == pytest.approx(1 / 30) and all(frame.packets for frame in frames)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    write_pictures(clip, (64, 64), 3, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_what_is_missing_or_damaged_is_said(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_pictures(tmp_path)
    (tmp_path / "facts.json").write_text("{}")
    with pytest.raises(EvaluationError, match="delete them"):
        read_pictures(tmp_path)
