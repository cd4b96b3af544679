"""What the child does, in this process: without a sandbox, and fast."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.video.reformatter import VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.cloud.decoding import child
from fluxshard.cloud.decoding.child import StreamDecoder, serve
from fluxshard.cloud.decoding.protocol import REPLY, REQUEST, Reply, Request, max_packet_bytes
from fluxshard.errors import VideoError
from fluxshard.video.h264.access_unit_decoder import AccessUnitDecoder
from fluxshard.video.picture import to_picture
from tests.unit.cloud.decoding.streams import MESSAGE, SIZE, Stream, encoded, parts

ROOT = Path(__file__).resolve().parents[4]
START = Request.RESET | Request.WANTED
KINDS = {
    "cabac": "subme=2:cabac=1:8x8dct=1",
    "cavlc": "subme=2:cabac=0:no-8x8dct=1",
    "slices": "subme=2:cabac=1:slices=4",
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def stream(request: pytest.FixtureRequest) -> Stream:
    return encoded(x264=KINDS[request.param], keyframes=(4,))


class Receiver:
    """A decoder and where it writes."""

    def __init__(self, size: tuple[int, int] = SIZE) -> None:
        self.pixels = np.zeros((*size, 3), np.uint8)
        self.decoder = StreamDecoder(size, self.pixels)

    def feed(self, stream: Stream, stop: int) -> None:
        for packet in stream.packets[:stop]:
            request = Request.RESET if packet.number == 0 else Request(0)
            assert self.decoder.decode(packet.number, packet.data, request) is Reply.DECODED


def test_a_stream(stream: Stream) -> None:
    receiver = Receiver()
    receiver.decoder.warm_up()
    for packet, picture in zip(stream.packets, stream.pictures, strict=True):
        before = receiver.pixels.copy()
        wanted = packet.number % 2 == 0
        request = (Request.WANTED if wanted else Request(0)) | (Request.RESET if packet.number == 0 else Request(0))
        assert receiver.decoder.decode(packet.number, packet.data, request) is Reply.DECODED
        assert (receiver.pixels == (picture if wanted else before)).all()


def test_a_stream_starts_with_a_keyframe(stream: Stream) -> None:
    receiver = Receiver()
    first, second, fifth = stream.packets[0], stream.packets[1], stream.packets[4]
    assert receiver.decoder.decode(1, second.data, START) is Reply.NOT_A_KEYFRAME
    assert receiver.decoder.decode(0, first.data, Request.WANTED) is Reply.NOT_A_KEYFRAME  # nothing asks for a start
    bare = b"".join(part for part in parts(first.data) if part[4] & 31 == 5)
    assert receiver.decoder.decode(0, bare, START) is Reply.NOT_A_KEYFRAME
    assert receiver.decoder.decode(4, fifth.data, START) is Reply.DECODED
    assert (receiver.pixels == stream.pictures[4]).all()


def test_a_refusal_ends_the_stream(stream: Stream) -> None:
    receiver = Receiver()
    receiver.feed(stream, 2)
    assert receiver.decoder.decode(2, b"\0\0\0\1\x41\xff", Request.WANTED) is not Reply.DECODED
    assert receiver.decoder.decode(3, stream.packets[3].data, Request.WANTED) is Reply.NOT_A_KEYFRAME
    assert receiver.decoder.decode(4, stream.packets[4].data, START) is Reply.DECODED


def test_packets_that_are_not_one_picture(stream: Stream) -> None:
    second, third = stream.packets[1].data, stream.packets[2].data
    for data in (second + third, second + second, third + stream.packets[3].data):
        receiver = Receiver()
        receiver.feed(stream, 1)
        assert receiver.decoder.decode(1, data, Request.WANTED) is not Reply.DECODED
    receiver = Receiver()
    receiver.feed(stream, 1)
    assert receiver.decoder.decode(1, MESSAGE, Request(0)) is Reply.DECODED  # it counts, and holds no picture
    assert receiver.decoder.decode(2, second, Request.WANTED) is Reply.DECODED
    assert (receiver.pixels == stream.pictures[1]).all()
    assert receiver.decoder.decode(3, MESSAGE, Request.WANTED) is Reply.NO_PICTURE


def test_lost_slices_are_not_made_up() -> None:
    stream = encoded(x264=KINDS["slices"])
    slices = parts(stream.packets[2].data)
    assert len(slices) == 4
    for lost in range(4):
        receiver = Receiver()
        receiver.feed(stream, 2)
        data = b"".join(part for index, part in enumerate(slices) if index != lost)
        assert receiver.decoder.decode(2, data, Request.WANTED) in (Reply.CORRUPT, Reply.UNDECODABLE)


@pytest.mark.parametrize("size", [(80, 128), (96, 112), (128, 96), (480, 640), (2160, 3840)])
def test_pictures_of_another_size(size: tuple[int, int]) -> None:
    large = encoded(1, size)
    assert Receiver().decoder.decode(0, large.packets[0].data, START) in (Reply.OTHER_SIZE, Reply.UNDECODABLE)


def test_a_size_that_changes(stream: Stream) -> None:
    receiver = Receiver()
    receiver.feed(stream, 2)
    other = encoded(1, (96, 144)).packets[0].data
    assert receiver.decoder.decode(2, other, Request.WANTED) is Reply.OTHER_SIZE


def test_reordered_pictures() -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = *SIZE, "yuv420p"
    encoder.options = {"preset": "medium", "bf": "2", "x264-params": "b-adapt=0:keyint=infinite:scenecut=0"}
    packets = []
    for index, picture in enumerate([*encoded(8).pictures, None]):
        frame = None
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts = index
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    receiver = Receiver()
    replies = []
    for number, data in enumerate(packets):
        replies.append(receiver.decoder.decode(number, data, START if number == 0 else Request.WANTED))
    assert Reply.DECODED not in replies[2:] and {Reply.NO_PICTURE, Reply.OTHER_PICTURE} & set(replies)


def test_formats_of_more_than_8_bits() -> None:
    deep = encoded(1, pixel_format="yuv420p10le")
    assert Receiver().decoder.decode(0, deep.packets[0].data, START) is Reply.OTHER_FORMAT
    full = encoded(1, pixel_format="yuv444p")
    receiver = Receiver()
    assert receiver.decoder.decode(0, full.packets[0].data, START) is Reply.DECODED
    assert (receiver.pixels == full.pictures[0]).all()


def test_colours_that_cannot_be_converted(stream: Stream) -> None:
    """Whether libswscale knows a matrix depends on its version; one that it does not know is no reason to crash."""
    for number in (0, 3, 8, 10, 14, 200):
        metadata = BitStreamFilterContext(f"h264_metadata=matrix_coefficients={number}", "h264")
        (changed,) = metadata.filter(av.Packet(stream.packets[0].data))
        reply = Receiver().decoder.decode(0, bytes(changed), START)
        assert reply in (Reply.DECODED, Reply.OTHER_FORMAT)


def test_a_conversion_that_fails_is_a_refusal(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise VideoError("unknown colours")

    monkeypatch.setattr(child, "to_picture", fails)
    assert Receiver().decoder.decode(0, stream.packets[0].data, START) is Reply.OTHER_FORMAT
    assert Receiver().decoder.decode(0, stream.packets[0].data, Request.RESET) is Reply.DECODED


@st.composite
def damage(draw: st.DrawFn) -> tuple[int, list[tuple[float, int]], float, int]:
    """A packet, bytes that change, where it is cut, and what follows."""
    changes = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=12))
    return draw(st.integers(0, 5)), changes, draw(st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.1])), draw(st.integers(0, 3))


@settings(max_examples=150)
@given(damage())
def test_damage_that_libavcodec_notices_is_refused(
    stream: Stream, case: tuple[int, list[tuple[float, int]], float, int]
) -> None:
    index, changes, cut, extra = case
    data = bytearray(stream.packets[index].data)
    for place, change in changes:
        data[min(int(place * len(data)), len(data) - 1)] ^= change
    damaged = bytes(data[: max(1, int(cut * len(data)))]) + bytes(extra)

    receiver, lenient = Receiver(), AccessUnitDecoder()
    receiver.feed(stream, index)
    for packet in stream.packets[:index]:
        lenient.decode(packet.number, packet.data)
    reply = receiver.decoder.decode(index, damaged, START if index == 0 else Request.WANTED)
    try:
        (picture,) = lenient.decode(index, damaged)
    except (av.FFmpegError, ValueError):
        assert reply is not Reply.DECODED
        return
    if picture.is_corrupt:
        assert reply is not Reply.DECODED
    elif reply is Reply.DECODED:
        assert (receiver.pixels == to_picture(picture, VideoReformatter())).all()


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=300), max_size=4))
def test_any_bytes_are_refused(parts: list[bytes]) -> None:
    receiver = Receiver()
    for number, data in enumerate(parts):
        assert receiver.decoder.decode(number, b"\0\0\0\1" + data, START) is not Reply.DECODED


def test_requests_are_answered_until_the_channel_ends(stream: Stream) -> None:
    ours, theirs = socket.socketpair()
    first, second = stream.packets[:2]
    receiver = Receiver()
    with ours, theirs:
        for packet, request in ((first, Request.RESET), (second, Request.WANTED)):
            ours.sendall(REQUEST.pack(request, len(packet.data), packet.number) + packet.data)
        ours.shutdown(socket.SHUT_WR)
        serve(theirs, receiver.decoder, most_bytes=max_packet_bytes(SIZE), timeout_s=5)
        answers = [REPLY.unpack(ours.recv(REPLY.size)) for _ in range(2)]
    assert answers == [(Reply.DECODED, 0), (Reply.DECODED, 1)]
    assert (receiver.pixels == stream.pictures[1]).all()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_request_for_more_than_allowed_ends_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(REQUEST.pack(Request.RESET, 2**32 - 1, 0))
        serve(theirs, Receiver().decoder, most_bytes=1000, timeout_s=5)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_it_loads_no_torch() -> None:
    code = "import sys, fluxshard.cloud.decoding.child; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = set(run(code).stdout.split())
    assert {"av", "numpy", "fluxshard"} <= loaded
    assert not loaded & {"torch", "grpc", "google", "jinja2", "matplotlib", "PIL", "cryptography", "zstandard"}


def test_a_packet_that_takes_too_long_ends_the_process() -> None:
    """Also without a server, which may be gone."""
    code = """
import socket, time
from fluxshard.cloud.decoding import child
from fluxshard.cloud.decoding.child import serve
from fluxshard.cloud.decoding.protocol import REQUEST
class Endless:
    def decode(self, number, data, request):
        time.sleep(30)
ours, theirs = socket.socketpair()
ours.sendall(REQUEST.pack(1, 1, 0) + b"x")
serve(theirs, Endless(), most_bytes=10, timeout_s=0.1)
"""
    assert run(code).returncode == -signal.SIGALRM


def test_it_writes_what_it_has_given_up_and_ends_with_its_channel() -> None:
    ours, theirs = socket.socketpair()
    memory = os.memfd_create("test")
    with ours, os.fdopen(memory, "r+b", buffering=0):
        os.ftruncate(memory, 3 * SIZE[0] * SIZE[1])
        numbers = (theirs.fileno(), memory, *SIZE, 1 << 28, 0, 5.0)
        command = [sys.executable, "-m", "fluxshard.cloud.decoding.child", *map(str, numbers)]
        with theirs:
            process = subprocess.Popen(command, cwd=ROOT, pass_fds=(theirs.fileno(), memory))
        ours.settimeout(30)
        kind, protection = REPLY.unpack(ours.recv(REPLY.size))
        assert kind == Reply.READY and protection & 3 == 3
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(timeout=10) == 0
