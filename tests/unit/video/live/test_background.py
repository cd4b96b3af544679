"""Frames at their own times, and the newest ones: nothing of a dropped frame is lost but its picture."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing import panning, write_clip
from fluxshard.video.live.background import NewestFrames
from fluxshard.video.live.paced import PacedFrames

N = 12


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", panning((64, 96), (0, 4), N))


def test_frames_are_not_before_their_time(clip: Path) -> None:
    with video.open(clip) as source, PacedFrames(source) as frames:
        start, seen = time.monotonic(), []
        for frame in frames:
            seen.append((frame.index, time.monotonic() - start, frame.time_s))
    assert [index for index, *_ in seen] == list(range(N))
    assert all(at >= time_s - 1e-3 for _, at, time_s in seen)


def test_as_fast_as_they_are_taken(clip: Path) -> None:
    with video.open(clip) as source, PacedFrames(source, at_times=False) as frames:
        assert [frame.index for frame in frames] == list(range(N))
        assert frames.dropped == 0 and frames.fps == source.fps and frames.picture_size == (64, 96)


def test_who_is_slow_sees_the_newest_frame_with_all_motion_and_packets(clip: Path) -> None:
    with video.open(clip, packets=True) as source, NewestFrames(PacedFrames(source, at_times=False)) as frames:
        seen = []
        for frame in frames:
            seen.append(frame)
            while threading.active_count() and not frames._over:
                time.sleep(0.005)  # until all others have come
    assert len(seen) in (1, 2) and seen[-1].index == N - 1
    assert frames.dropped == N - len(seen)
    numbers = [packet.number for frame in seen for packet in frame.packets]
    assert numbers == sorted(set(numbers)) and len(numbers) == N and numbers[-1] == seen[-1].packet_number
    if len(seen) == 2:
        motion = seen[1].motion
        assert motion is not None
        moved = motion.displacement[motion.valid]
        assert np.median(moved[:, 1]) == pytest.approx(4 * (N - 1 - seen[0].index), abs=N)


def test_errors_come_after_the_frames_before_them(tmp_path: Path) -> None:
    for index, picture in enumerate(panning((64, 96), (0, 4), 3)):
        Image.fromarray(picture if index < 2 else picture[:32]).save(tmp_path / f"{index}.png")
    seen = []
    with (
        video.open(tmp_path) as source,
        NewestFrames(PacedFrames(source, at_times=False)) as frames,
        pytest.raises(VideoError, match="images of one size"),
    ):
        for frame in frames:
            seen.append(frame.index)
    assert seen in ([], [1], [0, 1])


def test_it_ends_when_nobody_asks_any_more(clip: Path) -> None:
    before = threading.active_count()
    with video.open(clip) as source, NewestFrames(PacedFrames(source)) as frames:
        next(iter(frames))
    assert threading.active_count() == before
