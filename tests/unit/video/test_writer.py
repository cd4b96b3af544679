from __future__ import annotations

import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.pictures import panning, texture

ROOT = Path(__file__).resolve().parents[2]
SIZE = (96, 128)


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("size", [(96, 128), (97, 129), (2, 3)])
def test_what_is_written_is_read_back(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "out.mp4"
    pictures = panning(size, (1, 2), 12)
    for picture in pictures:
        picture[:, : size[1] // 2] = (200, 40, 30)
    with video.VideoWriter(path, size, 12.5) as writer:
        for picture in pictures:
            writer.write(picture)
    with video.open(path) as source:
        assert source.fps == 12.5
        frames = list(source)
    assert len(frames) == 12 and abs(frames[-1].time_s - 11 / 12.5) < 1e-3
    even = size[0] + size[0] % 2, size[1] + size[1] % 2
    for frame, picture in zip(frames, pictures, strict=True):
        assert frame.picture.shape == (*even, 3)
        if size[0] > 16:
            seen = frame.picture[: size[0], : size[1]].astype(int)
            assert np.abs(seen - picture).mean() < 12
            assert np.abs(seen[16:80, 8:40] - (200, 40, 30)).mean() < 4  # the right colour matrix


def test_a_killed_program_leaves_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    code = """
import sys, time
import numpy as np
from fluxshard import video
writer = video.VideoWriter(sys.argv[1], (96, 128), 25)
for index in range(10_000):
    writer.write(np.full((96, 128, 3), 10 * index % 250, np.uint8))
    print(index, flush=True)
    time.sleep(0.002)
"""
    with run(code, path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 70:
                process.send_signal(signal.SIGKILL)
                break
        last = max([70, *map(int, process.stdout)])
    assert process.returncode == -signal.SIGKILL
    with video.open(path, strict=False) as source:  # part of a frame may follow
        frames = list(source)
    assert len(frames) >= last  # of last + 1 written: the newest may be missing
    for index, frame in enumerate(frames):
        assert abs(int(frame.picture[50, 60, 1]) - 10 * index % 250) <= 3


def test_the_film_can_be_watched_while_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with video.VideoWriter(path, SIZE, 25) as writer:
        for picture in panning(SIZE, (1, 2), 5):
            writer.write(picture)
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 4


def test_a_disk_that_fills_up_keeps_what_fits(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    code = """
import resource, sys
import numpy as np
from fluxshard import video
from fluxshard.errors import VideoError
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # writes beyond fail, as on a full disk
rng = np.random.default_rng(0)
written = 0
try:
    with video.VideoWriter(sys.argv[1], (96, 128), 25) as writer:
        for _ in range(200):
            writer.write(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8))
            written += 1
except VideoError as error:
    print(written, error, sep="|")
"""
    with run(code, path) as process:
        assert process.stdout is not None
        written, message = process.stdout.read().strip().split("|")
    assert process.returncode == 0
    assert message == f"video {str(path)!r} cannot be written after {written} frames: File too large"
    with video.open(path, strict=False) as source:  # half a frame may follow
        assert len(list(source)) >= int(written) - 1 >= 5


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/dev/full", "No space left on device"),
        ("/dev/null/out.mp4", "Not a directory"),
        ("{tmp}/missing/out.mp4", "No such file or directory"),
        ("{tmp}", "Is a directory"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, path: str, why: str) -> None:
    path = path.format(tmp=tmp_path)
    with pytest.raises(VideoError) as caught:
        video.VideoWriter(path, SIZE, 25)
    assert str(caught.value) == f"video {path!r} cannot be written after 0 frames: {why}"


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"size .* must be \(height, width\), at least 2 px"):
        video.VideoWriter(tmp_path / "a.mp4", (1, 50), 25)
    for fps in (0, -1, float("nan"), 1e6):
        with pytest.raises(VideoError, match=r"fps .* must be between"):
            video.VideoWriter(tmp_path / "a.mp4", SIZE, fps)
    with video.VideoWriter(tmp_path / "a.mp4", SIZE, 25) as writer:
        with pytest.raises(VideoError, match=r"takes \(96, 128, 3\) and uint8"):
            writer.write(texture(97, 128))
        writer.write(texture(*SIZE))
    with pytest.raises(VideoError, match="is closed"):
        writer.write(texture(*SIZE))
    writer.close()


def test_an_error_on_its_way_out_is_not_replaced_and_the_film_is_whole(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), video.VideoWriter(tmp_path / "a.mp4", SIZE, 25) as writer:
        for picture in panning(SIZE, (1, 2), 5):
            writer.write(picture)
        raise ZeroDivisionError
    with video.open(tmp_path / "a.mp4") as source:
        assert len(list(source)) == 5


def test_frames_are_shown_at_their_times(tmp_path: Path) -> None:
    times = [5.0, 5.04, 5.3, 5.3, 5.2, 7.0]  # two that are not after the one before them
    with video.VideoWriter(tmp_path / "a.mp4", SIZE, 25) as writer:
        for picture, time_s in zip(panning(SIZE, (1, 2), len(times)), times, strict=True):
            writer.write(picture, time_s)
    with video.open(tmp_path / "a.mp4") as source:
        shown = [frame.time_s for frame in source]
    assert np.allclose(shown, [0, 0.04, 0.3, 0.34, 0.38, 2.0], atol=2e-4)


def test_frames_without_times_follow_at_the_rate(tmp_path: Path) -> None:
    with video.VideoWriter(tmp_path / "a.mp4", SIZE, 30000 / 1001) as writer:
        for index, picture in enumerate(panning(SIZE, (1, 2), 6)):
            writer.write(picture, None if index % 2 else index / 10)
    with video.open(tmp_path / "a.mp4") as source:
        shown = [frame.time_s for frame in source]
    step = 1001 / 30000
    assert np.allclose(shown, [0, step, 0.2, 0.2 + step, 0.4, 0.4 + step], atol=2e-4)


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(12, 11), Fraction(1, 2)])
def test_pixels_that_are_not_square_are_shown_so(tmp_path: Path, aspect: Fraction) -> None:
    with video.VideoWriter(tmp_path / "a.mp4", SIZE, 25, pixel_aspect=aspect) as writer:
        writer.write(texture(*SIZE))
    with video.open(tmp_path / "a.mp4") as source:
        assert source.pixel_aspect == aspect and source.picture_size == SIZE
        height, width = source.shown_size
    assert width / height == pytest.approx(128 / 96 * aspect, rel=0.01) and height >= 96 and width >= 128
