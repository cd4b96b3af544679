"""Motion that a server finds in a video's packets is what `fluxshard.video` gives an edge, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fluxshard import video
from fluxshard.cloud.decoding import child_process
from fluxshard.cloud.decoding.decoder_process import DecoderProcess
from fluxshard.cloud.decoding.shared_vectors import VectorState
from fluxshard.cloud.server.running.picture_motion import PictureMotion
from fluxshard.errors import DecoderError, WireError
from fluxshard.motion import MotionField
from fluxshard.testing import panning, write_clip
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.motion_since import MotionSince
from tests.unit.cloud.decoding.streams import MESSAGE, SIZE, encoded

FILM = "videos/carnd_solidWhiteRight_540p25.mp4"


def same(one: MotionField | None, other: MotionField | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool((one.displacement == other.displacement).all() and (one.valid == other.valid).all())


class Server:
    """Follows a video as a server does."""

    def __init__(self, decoder: DecoderProcess, letterbox: Letterbox) -> None:
        self._decoder, self._motion = decoder, PictureMotion(letterbox)

    def see(self, frame: video.Frame) -> MotionField | None:
        for packet in frame.packets:
            wanted = packet.number == frame.packet_number
            self._decoder.decode(packet.number, packet.data, keyframe=packet.keyframe, wanted=wanted)
            assert self._decoder.vectors is not None
            self._motion.decoded(self._decoder.vectors)
        return self._motion.wanted()

    def ran(self) -> None:
        self._motion.ran()


def check(path: Path, size: tuple[int, int] | None, **arguments: Any) -> int:
    """Compares all frames; returns how many have motion."""
    moving = 0
    with video.open(path, size=size, packets=True, **arguments) as source:
        stream = source.packet_stream
        assert stream is not None
        letterbox = Letterbox(stream.picture_size, source.size if size else None)
        with DecoderProcess(stream.picture_size, vectors=True) as decoder:
            server = Server(decoder, letterbox)
            for frame in source:
                motion = server.see(frame)
                server.ran()
                assert same(motion, frame.motion), frame.index
                moving += motion is not None
    return moving


@pytest.fixture(scope="module")
def film(data_dir: Path) -> Path:
    path = data_dir / FILM
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


@pytest.mark.parametrize("size", [(384, 640), (352, 640), (640, 640), None])
def test_a_film(film: Path, size: tuple[int, int] | None) -> None:
    assert check(film, size, max_frames=40) == 38  # of its frames 0 and 30 nothing is known


def test_frames_that_are_left_out(film: Path) -> None:
    assert check(film, (384, 640), stride=4, max_frames=12) >= 9
    assert check(film, (384, 640), fps=10.0, max_frames=20) > 10


def test_a_film_that_is_encoded_here(film: Path) -> None:
    assert check(film, (352, 640), vectors="encode", max_frames=20) == 19


def test_a_clip_that_is_encoded_here(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", panning((100, 150), (3, -5), 20))
    assert check(path, (96, 160), max_frames=20) == 19
    assert check(path, (96, 160), vectors="encode", max_frames=20) == 19


def test_frames_that_are_not_run(film: Path) -> None:
    """Their motion is added to that of the next, whatever was decoded before anyone knew."""
    with video.open(film, size=(384, 640), packets=True, max_frames=29) as source:
        frames = list(source)
        size, letterbox = source.size, source.letterbox
    with DecoderProcess(frames[0].picture.shape[:2], vectors=True) as decoder:
        server, since = Server(decoder, letterbox), MotionSince(size)
        for index, frame in enumerate(frames):
            since.add(frame.motion)
            assert same(server.see(frame), since.motion if index else None)
            if index % 3 == 0:
                server.ran()
                since.restart()


def test_pictures_that_are_decoded_before_the_last_one_was_run(film: Path) -> None:
    with video.open(film, size=(384, 640), packets=True, max_frames=20) as source:
        frames = list(source)
        size, letterbox = source.size, source.letterbox
    with DecoderProcess(frames[0].picture.shape[:2], vectors=True) as decoder:
        motion, since = PictureMotion(letterbox), MotionSince(size)
        for index, frame in enumerate(frames):
            (packet,) = frame.packets
            decoder.decode(packet.number, packet.data, keyframe=packet.keyframe, wanted=False)
            assert decoder.vectors is not None
            motion.decoded(decoder.vectors)
            since.add(frame.motion)
            if index % 5 == 0:
                assert same(motion.wanted(), since.motion if index else None)
                since.restart()
            if index % 5 == 3:  # only now it is known that the frame three pictures before was run
                motion.ran()


def test_a_packet_without_a_picture_moves_nothing() -> None:
    stream = encoded(4)
    with DecoderProcess(SIZE, vectors=True) as decoder:
        states = []
        for number, data in enumerate([stream.packets[0].data, MESSAGE, stream.packets[1].data]):
            decoder.decode(number, data, keyframe=number == 0, wanted=False)
            assert decoder.vectors is not None
            states.append(decoder.vectors.state)
    assert states == [VectorState.UNKNOWN, VectorState.NO_PICTURE, VectorState.KNOWN]


def test_interlaced_pictures_have_no_motion_that_could_be_used() -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = *SIZE, "yuv420p"
    encoder.options = {"tune": "zerolatency", "x264-params": "bframes=0:interlaced=1:tff=1:scenecut=0"}
    packets = []
    for index, picture in enumerate(panning(SIZE, (2, -3), 4)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts = index
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    with DecoderProcess(SIZE, vectors=True) as decoder:
        for number, data in enumerate(packets):
            decoder.decode(number, data, keyframe=number == 0, wanted=False)
            assert decoder.vectors is not None and decoder.vectors.state is VectorState.UNKNOWN


def test_nothing_is_known_after_a_refusal() -> None:
    stream = encoded(4)
    with DecoderProcess(SIZE, vectors=True) as decoder:
        for packet in stream.packets[:2]:
            decoder.decode(packet.number, packet.data, keyframe=packet.keyframe, wanted=False)
        assert decoder.vectors is not None and decoder.vectors.state is VectorState.KNOWN
        with pytest.raises(WireError):
            decoder.decode(2, b"\0\0\0\1\x41\xff", keyframe=False, wanted=False)
        assert decoder.vectors is None
    with DecoderProcess(SIZE) as decoder:
        decoder.decode(0, stream.packets[0].data, keyframe=True, wanted=False)
        assert decoder.vectors is None


def test_a_process_that_was_taken_over_and_writes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is ended, and the stream goes on at the next keyframe with another."""
    code = f"""
import mmap, os, socket, struct, sys
channel, memory = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
size = os.fstat(memory).st_size
view = mmap.mmap(memory, size)
channel.sendall(struct.pack("<BxxxxxxxQ", 0, 31))
for index in range(3):
    head = channel.recv(16, socket.MSG_WAITALL)
    flags, n_bytes, number = struct.unpack("<BxxxIQ", head)
    channel.recv(n_bytes, socket.MSG_WAITALL)
    start = 3 * {SIZE[0]} * {SIZE[1]}
    view[start:] = b"\\xff" * (size - start)
    channel.sendall(struct.pack("<BxxxxxxxQ", 1, number))
"""

    def start(arguments: list[str], files: tuple[int, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, *arguments], pass_fds=files)

    stream = encoded(2)
    with monkeypatch.context() as patched:
        patched.setattr(child_process, "_start", start)
        with DecoderProcess(SIZE, vectors=True) as decoder:
            pid = decoder.pid
            with pytest.raises(DecoderError, match="no video has"):
                decoder.decode(0, stream.packets[0].data, keyframe=True, wanted=True)
            assert decoder.pid is None and decoder.vectors is None and pid is not None
            with pytest.raises(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            patched.undo()
            found = decoder.decode(0, stream.packets[0].data, keyframe=True, wanted=True)
            assert found is not None and np.array_equal(found, stream.pictures[0])
