"""Images of a size that is known once the source is open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning

SIZE = (96, 160)


@pytest.mark.parametrize("vectors", ["auto", "search", "none"])
@pytest.mark.parametrize("opened_at", [None, (64, 64)])
def test_frames_are_those_of_a_source_opened_with_the_size(
    tmp_path: Path, vectors: video.source.Vectors, opened_at: tuple[int, int] | None
) -> None:
    path = write_clip(tmp_path / "pan.mkv", panning((120, 213), (3, -5), 4), "libx264")
    with video.open(path, size=SIZE, vectors=vectors) as expected, video.open(
        path, size=opened_at, vectors=vectors
    ) as source:  # fmt: skip
        source.fit(SIZE)
        assert source.size == SIZE and source.shown_size == (120, 213)
        frames = list(source)
        assert len(frames) == 4
        for frame, other in zip(frames, expected, strict=True):
            assert np.array_equal(frame.pixels, other.pixels) and frame.letterbox == other.letterbox
            assert frame.motion_source == other.motion_source
            assert (frame.motion is None) == (other.motion is None)
            if frame.motion is not None and other.motion is not None:
                assert np.array_equal(frame.motion.displacement, other.motion.displacement)
                assert np.array_equal(frame.motion.valid, other.motion.valid)


def test_it_is_refused_where_frames_would_not_agree(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "pan.mkv", panning((120, 213), (3, -5), 4), "libx264")
    with video.open(path) as source:
        with pytest.raises(VideoError, match="must be"):
            source.fit((0, 64))
        next(source)
        with pytest.raises(VideoError, match="is fitted before its first frame, and without packets: open it with"):
            source.fit(SIZE)
    with video.open(path, packets=True) as source, pytest.raises(VideoError, match="without packets"):
        source.fit(SIZE)
