from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning, texture

SIZE = (96, 128)


def refusal(source: str | Path | int, **arguments: Any) -> str:
    with pytest.raises(VideoError) as caught:
        list(video.open(source, **arguments))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_missing_file(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nothing.mp4")
    assert "nothing.mp4' does not exist; give a video file, a directory of images, a camera number or a URL" in message


@pytest.mark.parametrize("length", [0, 1, 5000])
@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "h264", "ts"])
def test_random_bytes(tmp_path: Path, suffix: str, length: int) -> None:
    path = tmp_path / f"noise.{suffix}"
    path.write_bytes(np.random.default_rng(length).bytes(length))
    assert f"video {str(path)!r} " in refusal(path)


def test_no_frames_and_no_pictures(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    with video.VideoWriter(empty, SIZE, 25):
        pass
    assert "has a video track without a single frame that decodes" in refusal(empty)
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
        tone.rate = 44100
        container.mux(stream.encode(tone))
        container.mux(stream.encode(None))
    assert "has no pictures, only: audio" in refusal(sound)


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_what_a_truncated_file_has_is_read(tmp_path: Path, suffix: str) -> None:
    pictures = panning(SIZE, (1, 2), 20)
    path = write_clip(tmp_path / f"whole.{suffix}", pictures)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames = []
    try:
        frames.extend(video.open(path))
    except VideoError as error:
        assert f"is damaged at frame {len(frames)}" in str(error)
    assert 8 <= len(frames) < 20
    for frame, picture in zip(frames[:-1], pictures, strict=False):
        assert np.abs(frame.picture.astype(int) - picture).mean() < 12


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "whole.mp4", panning(SIZE, (1, 2), 20))
    path.write_bytes(path.read_bytes()[:-3000])
    assert "cannot be read: Invalid data" in refusal(path)


def damaged(path: Path, options: dict[str, str] | None = None) -> Path:
    """A film of 12 frames whose packet 6 holds nothing that a decoder could read."""
    write_clip(path, panning(SIZE, (1, 2), 12), "libx264", options)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    position, size = places[6]
    assert position is not None
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def test_frames_before_the_damage_are_not_lost(tmp_path: Path) -> None:
    path = damaged(tmp_path / "a.mp4")
    frames = []
    source = video.open(path, size=SIZE)
    with pytest.raises(VideoError, match=r"is damaged at frame 6: Invalid data .*; open it with strict=False to go on"):
        for frame in source:
            frames.append(frame.index)
    assert frames == [0, 1, 2, 3, 4, 5]
    assert list(source) == []


def test_frames_that_the_decoder_still_holds_are_yielded_first(tmp_path: Path) -> None:
    path = damaged(tmp_path / "b.mp4", {"preset": "medium", "bf": "2", "x264-params": "b-adapt=0:keyint=infinite"})
    count = 0
    with pytest.raises(VideoError, match="is damaged at frame"):
        for _ in video.open(path, size=SIZE):
            count += 1
    assert count >= 6


def test_without_strict_the_rest_is_read_and_its_motion_is_unknown_once(tmp_path: Path) -> None:
    with video.open(damaged(tmp_path / "a.mp4"), size=SIZE, strict=False) as source:
        kinds = [frame.motion_source for frame in source]
    assert kinds == ["none"] + ["codec"] * 5 + ["none"] + ["codec"] * 4
    with video.open(tmp_path / "a.mp4", size=SIZE, strict=False, stride=2) as source:  # 0 2 4 (7) 9 11
        assert [frame.motion_source for frame in source] == ["none", "codec", "codec", "none", "codec", "codec"]


def test_directories(tmp_path: Path) -> None:
    assert "has no images (.bmp, .jpeg, " in refusal(tmp_path)
    for index in range(4):
        Image.fromarray(texture(40, 56)).save(tmp_path / f"{index}.png")
    Image.fromarray(texture(40, 57)).save(tmp_path / "9.png")
    message = refusal(tmp_path)
    assert "9.png' has 40x57 px and the first of" in message and "40x56 px; give images of one size" in message
    (tmp_path / "8.jpg").write_bytes(b"\xff\xd8\xffnot really")
    assert "8.jpg' cannot be read" in refusal(tmp_path)
    with pytest.raises(VideoError):
        seen = 0
        for frame in video.open(tmp_path):
            seen += 1
            assert frame.index == seen - 1
    assert seen == 4
    (tmp_path / "0.png").write_bytes(b"")
    assert "0.png' cannot be read" in refusal(tmp_path)


def test_what_the_system_does_not_let_one_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = f"video {str(tmp_path)!r} cannot be read: Permission denied; give a video file, a directory of images"
    for name in ("exists", "is_dir", "iterdir", "is_char_device"):

        def refuse(path: Path, name: str = name) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        with monkeypatch.context() as patched:
            patched.setattr(Path, name, refuse)
            if name == "exists":
                assert "cannot be read: Permission denied" in refusal("12345")
            else:
                assert message in refusal(tmp_path)


def test_names_that_no_system_takes(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"cannot be read: File name too long|does not exist"):
        video.open(tmp_path / ("a" * 300))
    with pytest.raises(VideoError, match="does not exist"):
        video.open("a\0b.mp4")


def test_own_packets_cannot_change_their_size(tmp_path: Path) -> None:
    parts = [
        write_clip(tmp_path / f"{h}.h264", panning((h, 128), (1, 2), 60), format="h264").read_bytes() for h in (96, 112)
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(parts))
    assert "changes from 96x128 to 112x128 px at frame 60; open it again" in refusal(path, packets=True)


@pytest.mark.parametrize("camera", [63, "63"])
def test_camera_that_is_not_there(camera: int | str) -> None:
    assert "camera 63 (" in refusal(camera) and "cannot be opened" in refusal(camera)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scheme", ["tcp", "rtsp", "http"])
def test_stream_that_is_refused(scheme: str) -> None:
    assert "cannot be opened: Connection refused" in refusal(f"{scheme}://127.0.0.1:1")


def test_unknown_scheme() -> None:
    assert "cannot be opened: " in refusal("gopherette://127.0.0.1/video")


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("size", (0, 64), "size (=(0, 64)) must be (height, width) in whole pixels"),
        ("size", (64, -1), "must be (height, width)"),
        ("size", (64.5, 64), "must be (height, width)"),
        ("stride", 0, "stride (=0) must be at least 1"),
        ("max_frames", 0, "max_frames (=0) must be at least 1"),
        ("fps", 0, "fps (=0) must be a finite number above 0"),
        ("fps", float("nan"), "fps (=nan) must be"),
        ("timeout_s", 0, "timeout_s (=0) must be a finite number of seconds above 0"),
        ("transport", "smoke", "transport (='smoke') must be one of 'tcp', 'udp'"),
        ("vectors", "best", "vectors (='best') must be one of 'auto', 'codec', 'search', 'encode', 'none'"),
    ],
)
def test_arguments(tmp_path: Path, argument: str, value: object, message: str) -> None:
    path = write_clip(tmp_path / "a.mkv", panning(SIZE, (1, 2), 2))
    assert message in refusal(path, **{argument: value})
