"""Damage in the middle: noticed and said in files, left out and counted where a stream has to go on."""

from __future__ import annotations

import pickle
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fluxshard import video
from fluxshard.errors import DamageError, VideoError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning, texture

SIZE = (96, 128)
N, HIT = 12, 6
H264 = {"preset": "medium", "crf": "18", "x264-params": "bframes=0:ref=1:keyint=infinite"}
B_FRAMES = {"preset": "medium", "crf": "18", "x264-params": "bframes=2:b-adapt=0:keyint=infinite:cabac=0"}


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Position and size of each packet."""
    with av.open(str(path)) as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


def hit(path: Path, packet: int, *, share: float = 0.3, length: int = 40) -> Path:
    """Overwrites a part of a packet with noise."""
    position, size = packets_of(path)[packet]
    data, start = bytearray(path.read_bytes()), position + int(size * share)
    length = min(length, position + size - start)
    data[start : start + length] = np.random.default_rng(5).bytes(length)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("codec", "options", "suffix"),
    [
        ("libx264", H264, "mp4"),
        ("libx264", H264, "mkv"),
        ("libx264", B_FRAMES, "mp4"),
        ("mpeg4", {"qscale": "3"}, "avi"),
        ("mpeg2video", {"qscale": "3"}, "mkv"),
    ],
)
@pytest.mark.parametrize("packet", [0, HIT])
def test_a_hit_is_noticed_where_it_is_concealed(
    tmp_path: Path, codec: str, options: dict[str, str], suffix: str, packet: int
) -> None:
    path = hit(write_clip(tmp_path / f"a.{suffix}", panning(SIZE, (1, 2), N), codec, options), packet)
    seen = []
    with pytest.raises(DamageError, match=r"is damaged at frame \d+: .*; open it with strict=False"):
        seen.extend(frame.index for frame in video.open(path, size=SIZE))
    assert len(seen) <= packet + 2  # frames are shown in another order than they are decoded in
    with video.open(path, size=SIZE, strict=False) as source:
        frames = list(source)
    assert source.damaged >= 1 and len(frames) + source.damaged == N
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_the_frame_behind_what_was_left_out_has_no_motion(tmp_path: Path) -> None:
    path = hit(write_clip(tmp_path / "a.mkv", panning(SIZE, (1, 2), N), "libx264", H264), HIT)
    with video.open(path, size=SIZE, strict=False) as source:
        kinds = [frame.motion_source for frame in source]
    assert kinds == ["none"] + ["codec"] * (HIT - 1) + ["none"] + ["codec"] * (N - HIT - 2)


def test_packets_of_what_was_left_out_are_sent_with_the_next(tmp_path: Path) -> None:
    path = hit(write_clip(tmp_path / "a.mkv", panning(SIZE, (1, 2), N), "libx264", H264), HIT)
    with video.open(path, size=SIZE, strict=False, packets=True) as source:
        sent = [[packet.number for packet in frame.packets] for frame in source]
    assert sent == [[n] for n in range(HIT)] + [[HIT, HIT + 1]] + [[n] for n in range(HIT + 2, N)]


def test_a_transport_stream_that_lacks_a_part(tmp_path: Path) -> None:
    """Three packets of 188 bytes out of the middle: the decoder of HEVC says nothing, the container does."""
    options = {"x265-params": "log-level=none:bframes=0:keyint=infinite"}
    noise = [np.random.default_rng(k).integers(0, 256, (*SIZE, 3), np.uint8) for k in range(N)]
    path = write_clip(tmp_path / "a.ts", noise, "libx265", options)
    data = path.read_bytes()
    middle = len(data) // 376 * 188
    path.write_bytes(data[:middle] + data[middle + 564 :])
    seen = []
    with pytest.raises(DamageError):
        seen.extend(frame.index for frame in video.open(path, size=SIZE))
    assert 2 <= len(seen) < N
    with video.open(path, size=SIZE, strict=False) as source:
        assert len(list(source)) == N - source.damaged and source.damaged >= 1


def test_a_recording_that_begins_within_a_picture_is_no_damage(tmp_path: Path) -> None:
    options = {"preset": "medium", "crf": "18", "x264-params": "bframes=0:ref=1:keyint=4:min-keyint=4:scenecut=0"}
    path = write_clip(tmp_path / "a.ts", panning(SIZE, (1, 2), N), "libx264", options)
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 3) :])
    with video.open(path, size=SIZE) as source:
        frames = list(source)
    assert 4 <= len(frames) < N and source.damaged == 0


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_pictures_of_which_a_part_is_missing(tmp_path: Path, suffix: str) -> None:
    for index in range(3):
        Image.fromarray(texture(*SIZE, seed=index)).save(tmp_path / f"{index}.{suffix}")
    half = tmp_path / f"1.{suffix}"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with pytest.raises(VideoError, match="cannot be read"):
        list(video.open(tmp_path))
    with pytest.raises(VideoError, match="cannot be read"):
        list(video.open(half, strict=True))
    with video.open(tmp_path, strict=False) as source:
        frames = list(source)
    assert len(frames) + source.damaged == 3
    (tmp_path / f"1.{suffix}").write_bytes(b"")
    with video.open(tmp_path, strict=False) as source:
        assert len(list(source)) == 2 and source.damaged == 1
    with pytest.raises(VideoError, match="cannot be read"):
        list(video.open(half, strict=False))


def test_the_error_survives_a_process(tmp_path: Path) -> None:
    error = DamageError("seen", "do this")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.seen) == ("seen; do this", "seen")
