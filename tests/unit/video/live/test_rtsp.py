"""RTSP over TCP and UDP, against a server of GStreamer's that is killed, stopped and started with another size."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.video.live.options import LiveOptions
from fluxshard.video.sources.decoders import Transport
from tests.unit.video.live.servers import nothing_left

SCRIPT = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"  # which has the bindings that distributions package
NEEDED = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
missing = [n for n in ("videotestsrc", "x264enc", "rtph264pay") if Gst.ElementFactory.find(n) is None]
raise SystemExit("no " + ", ".join(missing) if missing else 0)
"""


def why_not() -> str | None:
    """What this machine lacks for these tests; None if nothing."""
    if not Path(PYTHON).exists():
        return f"no {PYTHON}"
    done = subprocess.run([PYTHON, "-c", NEEDED], capture_output=True, text=True)
    return None if done.returncode == 0 else f"no RTSP server of GStreamer's: {done.stderr.strip().splitlines()[-1]}"


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    lack = why_not()
    if lack is not None:
        pytest.skip(f"{lack} (apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-ugly)")


class Camera:
    """A server in a process of its own."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self, width: int = 128, height: int = 96) -> None:
        for _ in range(20):
            self._process = subprocess.Popen(
                [PYTHON, str(SCRIPT), str(self.port), str(width), str(height)], stdout=subprocess.PIPE, text=True
            )
            assert self._process.stdout is not None
            said = self._process.stdout.readline()
            if said:
                self.port = int(said)
                return
            self._process.wait()
            time.sleep(0.1)
        raise AssertionError("the server does not start")

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera()
    made.start()
    yield made
    made.kill()


def patiently(camera: Camera, options: LiveOptions) -> video.LiveSource:
    """Opens the stream; the server's first picture takes long on a busy machine."""
    for left in range(9, -1, -1):
        try:
            return video.open_live(camera.url, size=(96, 96), live=options)
        except VideoError:
            if not left:
                raise
    raise AssertionError


@dataclass(frozen=True)
class Seen:
    """What is kept of a frame: not its pictures."""

    index: int
    time_s: float
    gap_s: float
    starts_anew: bool
    picture: tuple[int, int]
    image: tuple[int, int]


def seen(source: video.LiveSource) -> Seen:
    frame = next(source)
    return Seen(
        frame.index, frame.time_s, frame.gap_s, frame.starts_anew, frame.picture.shape[:2], frame.pixels.shape[:2]
    )


def restarts(camera: Camera, transport: Transport, count: int, timeout_s: float) -> None:
    options = LiveOptions(
        frames="every", first_delay_s=0.05, most_delay_s=0.2, timeout_s=timeout_s, transport=transport
    )
    sizes, frames = [(96, 128)], []
    with patiently(camera, options) as source:
        assert source.is_paced and source.is_live
        frames += [seen(source) for _ in range(8)]
        for number in range(count):
            gaps = source.stats.gaps
            if (
                number % 3 == 2
            ):  # nobody answers for longer than it is waited for, which is twice where a picture is left
                camera.signal(signal.SIGSTOP)
                threading.Timer(3 * timeout_s, camera.signal, [signal.SIGCONT]).start()
            else:
                camera.kill()
                sizes.append([(96, 128), (160, 96)][(number + 1) // 2 % 2])
                camera.start(*sizes[-1][::-1])
            deadline = time.monotonic() + 60
            while source.stats.gaps == gaps or not frames[-1].starts_anew:
                assert time.monotonic() < deadline
                frames.append(seen(source))
            frames += [seen(source) for _ in range(6)]
    stats = source.stats
    assert stats.gaps == sum(frame.starts_anew for frame in frames) >= count
    assert stats.connections >= count + 1 and stats.last_error
    assert {frame.picture for frame in frames} == set(sizes)
    assert {frame.image for frame in frames} == {(96, 96)}
    assert (np.diff([frame.index for frame in frames]) == 1).all()
    assert (np.diff([frame.time_s for frame in frames]) > 0).all()
    for frame in frames:
        assert frame.gap_s > 0 if frame.starts_anew else frame.gap_s == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("transport", "count", "timeout_s"), [("tcp", 3, 1.5), ("udp", 1, 6.0)])
def test_a_camera_that_is_switched_off_and_on(
    camera: Camera, transport: Transport, count: int, timeout_s: float
) -> None:
    with nothing_left():
        restarts(camera, transport, count, timeout_s)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_times(camera: Camera) -> None:
    restarts(camera, "tcp", 1, 1.5)  # what is loaded once
    with nothing_left(64 << 20):
        restarts(camera, "tcp", 50, 1.5)


def test_the_newest_frame_is_what_one_gets(camera: Camera) -> None:
    with nothing_left(), video.open_live(camera.url, size=(96, 128)) as source:
        assert source.keeps_newest
        next(source)
        for _ in range(3):
            before = time.monotonic()
            time.sleep(0.5)
            frame = next(source)
            assert frame.captured_s > before + 0.1
    assert source.stats.dropped >= 15 and source.stats.damaged == 0


def test_a_name_that_is_not_there(camera: Camera) -> None:
    with nothing_left(), pytest.raises(VideoError, match=r"cannot be opened: .*404"):
        video.open_live(camera.url + "not")
