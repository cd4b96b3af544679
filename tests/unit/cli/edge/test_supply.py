from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard import video
from fluxshard.cli.edge.supply import Frames, supply
from fluxshard.testing import panning, write_clip
from fluxshard.video.live.background import NewestFrames


@pytest.mark.parametrize(
    ("frames", "pace", "newest"),
    [("auto", False, False), ("auto", True, True), ("every", True, False), ("newest", False, True)],
)
def test_which_frames_are_run(frames: Frames, pace: bool, newest: bool, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", panning((32, 48), (0, 1), 2))
    with video.open(path) as source, supply(source, frames, pace=pace) as supplied:
        assert isinstance(supplied, NewestFrames) == newest
        assert len(list(supplied)) >= 1
