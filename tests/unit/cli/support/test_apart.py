"""What is written is not what is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxshard.cli.support.apart import check_apart
from fluxshard.errors import OptionError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    (tmp_path / "pictures" / "0.png").write_bytes(b"picture")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    os.link(tmp_path / "clip.mp4", tmp_path / "hard.mp4")
    (tmp_path / "linked").symlink_to(tmp_path / "pictures")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("clip.mp4", "clip.mp4"),
        ("clip.mp4", "./pictures/../clip.mp4"),
        ("link.mp4", "clip.mp4"),
        ("clip.mp4", "link.mp4"),
        ("hard.mp4", "clip.mp4"),
        ("clip.mp4", "file:{}/clip.mp4"),
        ("clip.mp4", "file://{}/clip.mp4"),
        ("pictures", "pictures"),
        ("pictures/summary.png", "pictures"),
        ("linked/new.png", "pictures"),
        ("pictures/0.png", "linked"),
    ],
)
def test_the_same_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch, output: str, read: str) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(OptionError, match=r"which is read|whose files are read"):
        check_apart([Path(output)], [None, read.format(place)])


@pytest.mark.parametrize(
    "read", ["clip.mp4", "pictures", "0", "rtsp://192.0.2.1/clip.mp4", "nothing.mp4", "", None, "a\0b", "x" * 5000]
)
def test_others_are_not(place: Path, monkeypatch: pytest.MonkeyPatch, read: str | None) -> None:
    monkeypatch.chdir(place)
    outputs = ("runs/annotated.mp4", "new.mp4", "runs", "pictures/seg.json", "pictures/runs/film.mp4")
    check_apart(map(Path, outputs), [read])
