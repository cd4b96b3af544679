"""Streams of two temporal layers: vectors of every second picture span two of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fluxshard import video
from fluxshard.testing.clips import EXACT_X264
from fluxshard.testing.pictures import Picture, panning
from fluxshard.video.h264.bit_reader import BitReader
from fluxshard.video.h264.nal_units import SPS, START_CODE, units

SIZE, STEP, N = (160, 224), (2, -3), 10
BASELINE = 66


def encoded(pictures: list[Picture]) -> list[bytes]:
    """Packets in Annex B, one for each picture; what is encoded of the first ones does not depend on the others."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = *SIZE, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {"tune": "zerolatency", "x264-params": f"{EXACT_X264}:cabac=0:qp=18:threads=1:sliced-threads=0"}
    found = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = index
        found += [bytes(packet) for packet in encoder.encode(frame)]
    assert len(found) == len(pictures)
    return found


def bits_of_frame_numbers(packet: bytes) -> int:
    (unit,) = (unit for unit in units(packet) if unit[0] & 31 == SPS)
    bits = BitReader(unit[1:].replace(b"\0\0\3", b"\0\0"))
    assert bits.fixed(8) == BASELINE
    bits.fixed(16)
    bits.unsigned()
    return bits.unsigned() + 4


def without_references(packet: bytes, frame_bits: int) -> bytes:
    """The packet of a P picture, as an encoder writes it if no other picture is to refer to it."""
    (unit,) = units(packet)
    assert unit[0] & 31 == 1 and unit[0] >> 5 & 3
    content = unit[1:].replace(b"\0\0\3", b"\0\0")
    bits = BitReader(content)
    bits.unsigned(), bits.unsigned(), bits.unsigned(), bits.fixed(frame_bits)
    if bits.fixed(1):
        bits.unsigned()
    assert not bits.fixed(1)  # nothing is put into another order
    position = bits._at
    assert not bits.fixed(1)  # how it is marked as a reference, which only references say
    text = f"{int.from_bytes(content, 'big'):0{8 * len(content)}b}"
    text = (text[:position] + text[position + 1 :]).rstrip("0")
    text += "0" * (-len(text) % 8)
    made = bytearray((unit[0] & 31,))
    for byte in int(text, 2).to_bytes(len(text) // 8, "big"):
        if byte <= 3 and made.endswith(b"\0\0"):
            made.append(3)
        made.append(byte)
    return START_CODE + bytes(made)


def layered(pictures: list[Picture]) -> bytes:
    """Even pictures refer to the even one before, odd ones to the even one before; none refers to odd ones."""
    base = encoded(pictures[0::2])
    frame_bits = bits_of_frame_numbers(base[0])
    data = b""
    for index, packet in enumerate(base):
        data += packet
        between = encoded([*pictures[0 : 2 * index + 1 : 2], pictures[2 * index + 1]])
        assert between[:-1] == base[: index + 1]
        data += without_references(between[-1], frame_bits)
    return data


def remuxed(source: Path, path: Path) -> Path:
    """The packets with lengths instead of start codes."""
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for index, packet in enumerate(given.demux(video=0)):
            if packet.size:
                packet.stream, packet.pts, packet.dts, packet.duration = stream, index, index, 1
                packet.time_base = Fraction(1, 25)
                container.mux(packet)
    return path


def median(frame: video.Frame) -> list[int]:
    assert frame.motion is not None
    inner = frame.motion.displacement[4:-4, 4:-4][frame.motion.valid[4:-4, 4:-4]]
    return [int(value) for value in np.median(inner, axis=0)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layers") / "a.h264"
    path.write_bytes(layered(panning(SIZE, STEP, N)))
    return path


@pytest.mark.parametrize("suffix", ["h264", "mp4"])
def test_motion_of_one_picture_is_searched(tmp_path: Path, film: Path, suffix: str) -> None:
    path = film if suffix == "h264" else remuxed(film, tmp_path / "a.mp4")
    with video.open(path, size=SIZE) as source:
        frames = list(source)
    assert len(frames) == N
    for frame, picture in zip(frames, panning(SIZE, STEP, N), strict=True):
        assert np.abs(frame.picture.astype(int) - picture).mean() < 12  # others differ by 60
    assert [frame.motion_source for frame in frames] == ["none"] + ["block_matching"] * (N - 1)
    assert [median(frame) for frame in frames[1:]] == [list(STEP)] * (N - 1)
    with video.open(path, size=SIZE, vectors="codec") as source:
        assert {frame.motion_source for frame in source} == {"none"}


def test_its_vectors_span_two_pictures(film: Path) -> None:
    """What the others are for."""
    with av.open(str(film)) as container:
        container.streams.video[0].codec_context.options = {"flags2": "+export_mvs"}
        seen = []
        for frame in container.decode(video=0):
            found = frame.side_data.get("MOTION_VECTORS")
            if found is not None:
                vectors = found.to_ndarray()
                seen.append(np.median(-vectors["motion_y"] / vectors["motion_scale"]))
    assert seen == [STEP[0], 2 * STEP[0]] * (N // 2 - 1) + [STEP[0]]
