from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, VideoReformatter

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.clips import EXACT_X264, write_clip
from fluxshard.testing.pictures import panning
from fluxshard.video import Packet, PacketStream
from fluxshard.video.h264.access_unit_decoder import AccessUnitDecoder
from fluxshard.video.h264.nal_units import START_CODE, units
from fluxshard.video.h264.source_packets import SourcePackets
from fluxshard.video.letterbox import to_image
from fluxshard.video.picture import to_picture

SIZE = (160, 224)
KEY_EVERY_FOUR = {"preset": "medium", "crf": "18", "x264-params": EXACT_X264.replace("infinite", "4")}
B_FRAMES = {"preset": "medium", "bf": "2", "x264-params": "b-adapt=0:keyint=infinite:scenecut=0"}


def decoded(packets: list[Packet]) -> list[np.ndarray]:
    decoder, reformatter = AccessUnitDecoder(refuse_damage=True), VideoReformatter()
    found = []
    for packet in packets:
        (picture,) = decoder.decode(packet.number, packet.data)
        found.append(to_picture(picture, reformatter))
    return found


def same_frames(frames: list[video.Frame], others: list[video.Frame]) -> None:
    for frame, other in zip(frames, others, strict=True):
        assert (frame.index, frame.time_s, frame.motion_source) == (other.index, other.time_s, other.motion_source)
        assert (frame.picture == other.picture).all() and (frame.pixels == other.pixels).all()
        assert (frame.motion is None) == (other.motion is None)
        if frame.motion is not None and other.motion is not None:
            assert (frame.motion.displacement == other.motion.displacement).all()
            assert (frame.motion.valid == other.motion.valid).all()


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi", "ts", "h264", "flv"])
@pytest.mark.parametrize("vectors", ["auto", "none"])
def test_packets_of_a_file(tmp_path: Path, suffix: str, vectors: video.source.Vectors) -> None:
    path = write_clip(tmp_path / f"a.{suffix}", panning(SIZE, (2, -3), 10), options=KEY_EVERY_FOUR)
    with video.open(path, size=(96, 160), vectors=vectors) as source:
        assert source.packet_stream is None and not source.request_keyframe()
        expected = list(source)
    assert all(frame.packets == () and frame.packet_number is None for frame in expected)
    with video.open(path, size=(96, 160), vectors=vectors, packets=True) as source:
        assert source.packet_stream == PacketStream(picture_size=SIZE, encoded_here=False, fps=25.0)
        assert not source.request_keyframe()
        frames = list(source)
    same_frames(frames, expected)
    packets = [packet for frame in frames for packet in frame.packets]
    assert [packet.number for packet in packets] == list(range(10)) == [frame.packet_number for frame in frames]
    assert [packet.number for packet in packets if packet.keyframe] == [0, 4, 8]
    for frame, received in zip(frames, decoded(packets), strict=True):
        assert (frame.picture == received).all()
        assert (frame.pixels == frame.letterbox.place(received)).all()
        assert torch.equal(frame.image, to_image(frame.pixels))
    for frame, received in zip(frames[4:], decoded(packets[4:]), strict=True):  # joined at a keyframe
        assert (frame.picture == received).all()


def test_packets_of_dropped_frames_go_with_the_next(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", panning(SIZE, (2, -3), 12))
    with video.open(path, packets=True, stride=3) as source:
        assert source.packet_stream is not None and source.packet_stream.fps == 25.0
        frames = list(source)
    assert [[packet.number for packet in frame.packets] for frame in frames] == [[0], [1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert [frame.packet_number for frame in frames] == [0, 3, 6, 9]
    received = decoded([packet for frame in frames for packet in frame.packets])
    assert all((frame.picture == received[frame.index]).all() for frame in frames)
    with video.open(path, packets=True, fps=10) as source:
        assert [[packet.number for packet in frame.packets] for frame in source] == [
            *([0], [1, 2, 3], [4, 5], [6, 7, 8], [9, 10]),
        ]
    with video.open(path, packets=True, max_frames=2) as source:
        assert source.skip(4) == 4
        assert [packet.number for packet in next(source).packets] == [0, 1, 2, 3, 4]
        assert source.skip(1) == 1
        assert [packet.number for packet in next(source).packets] == [5, 6]
        assert list(source) == []


def test_parameter_sets_that_only_the_header_has_go_before_every_idr(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", panning(SIZE, (2, -3), 9), options=KEY_EVERY_FOUR)
    parts = list(units(path.read_bytes()))
    first = [index for index, part in enumerate(parts) if part[0] & 31 in (7, 8)][:2]
    kept = [part for index, part in enumerate(parts) if part[0] & 31 not in (7, 8) or index in first]
    assert len(kept) < len(parts)
    path.write_bytes(b"".join(START_CODE + part for part in kept))
    with video.open(path, packets=True) as source:
        frames = list(source)
    packets = [packet for frame in frames for packet in frame.packets]
    assert [packet.number for packet in packets if packet.keyframe] == [0, 4, 8]
    for frame, received in zip(frames[4:], decoded(packets[4:]), strict=True):
        assert (frame.picture == received).all()


def test_a_turned_film_is_encoded(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "a.mp4", panning(SIZE, (3, -5), 3)).read_bytes())
    header = data.index(b"tkhd") + 4
    one = 1 << 16
    struct.pack_into(">9i", data, header + 40, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # a quarter turn clockwise
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    with video.open(path, packets=True) as source:
        assert source.packet_stream == PacketStream(picture_size=SIZE[::-1], encoded_here=True, fps=25.0)
        frames = list(source)
    assert len(frames) == 3
    for frame, received in zip(frames, decoded([frame.packets[0] for frame in frames]), strict=True):
        assert (frame.pixels == received).all()


def test_colours_that_only_the_container_knows_are_not_left_to_a_receiver(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", panning(SIZE, (3, -5), 2))
    for color_range, usable in ((None, True), (ColorRange.JPEG, False)):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packet = next(container.demux(stream))
            (picture,) = packet.decode()
            if color_range is not None:
                picture.color_range = color_range
            found = SourcePackets.continuing(stream, "a", [packet], picture, motion_vectors=False)
            assert (found is not None) is usable


def test_a_camera_that_writes_broken_messages_is_encoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", panning((96, 128), (1, -2), 4))
    parts = [part for part in units(path.read_bytes()) if part[0] & 31 != 6]
    for message, usable in ((b"\x06\x05\x10" + b"0123456789abcdef" + b"\x80", True), (b"\x06\x05\x01\x80\x80", False)):
        path.write_bytes(b"".join(START_CODE + part for part in [*parts[:2], message, *parts[2:]]))
        with video.open(path, packets=True) as source:
            assert source.packet_stream is not None and source.packet_stream.encoded_here is not usable
            assert len(list(source)) == 4


def test_a_stream_that_is_joined_midway_is_encoded(tmp_path: Path) -> None:
    """Its first picture is no IDR picture, from which no receiver could start."""
    options = {"preset": "medium", "x264-params": "keyint=10:bframes=0:intra-refresh=1:scenecut=0"}
    path = write_clip(tmp_path / "a.h264", panning((96, 128), (1, -2), 30), options=options)
    parts = list(units(path.read_bytes()))
    sets = [part for part in parts if part[0] & 31 in (7, 8)][:2]
    recovery = [index for index, part in enumerate(parts) if part[0] & 31 == 6]
    path.write_bytes(b"".join(START_CODE + part for part in [*sets, *parts[recovery[-1] :]]))
    with video.open(path, packets=True, strict=False) as source:
        frames = list(source)
        assert source.packet_stream is not None and source.packet_stream.encoded_here
    assert frames and frames[0].packets[0].keyframe


def test_pictures_that_go_out_of_order_are_an_error(tmp_path: Path) -> None:
    pictures = panning((96, 128), (1, -2), 90)
    head = write_clip(tmp_path / "head.h264", pictures[:80], format="h264")
    tail = write_clip(tmp_path / "tail.h264", pictures[80:], "libx264", B_FRAMES, format="h264")
    both = tmp_path / "both.h264"
    both.write_bytes(head.read_bytes() + tail.read_bytes())
    frames = []
    with pytest.raises(VideoError, match=r"puts its pictures out of order from packet 8\d on, .* vectors='encode'"):
        for frame in video.open(both, packets=True):
            frames.append(frame)
    assert len(frames) >= 80
    with video.open(both, packets=True, vectors="encode") as source:
        assert len(list(source)) == 90


def damaged(path: Path, content: bytes | None = None) -> Path:
    """A film of 12 frames, 6 to a keyframe, whose packet 4 is damaged: all of it, or its slice."""
    options = {**KEY_EVERY_FOUR, "x264-params": EXACT_X264.replace("infinite", "6")}
    write_clip(path, panning((96, 128), (1, 2), 12), options=options)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    position, size = places[4]
    assert position is not None
    if content is None:
        data[position : position + size] = b"\xff" * size
    else:
        data[position + 8 : position + size] = content * (size - 8)
    path.write_bytes(data)
    return path


def test_damage_is_an_error_after_all_pictures_before_it(tmp_path: Path) -> None:
    frames = []
    with pytest.raises(VideoError, match="is damaged at frame 4: Invalid data"):
        for frame in video.open(damaged(tmp_path / "a.mp4"), packets=True):
            frames.append(frame)
    assert [frame.packet_number for frame in frames] == [0, 1, 2, 3]


def test_a_packet_that_is_lost_leaves_a_gap(tmp_path: Path) -> None:
    with video.open(damaged(tmp_path / "a.mp4"), packets=True, strict=False) as source:
        frames = list(source)
    assert [frame.packet_number for frame in frames] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [packet.number for packet in frames[4].packets] == [5]


def test_a_packet_without_a_picture_is_sent_on(tmp_path: Path) -> None:
    with video.open(damaged(tmp_path / "a.mp4", b"\0"), packets=True, strict=False) as source:
        frames = list(source)
    sent = [packet.number for frame in frames for packet in frame.packets]
    assert sent == list(range(12))
    assert frames[-1].packet_number == 11 and len(frames) in (11, 12)
