from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning, texture
from fluxshard.video import Packet, PacketStream
from fluxshard.video.h264.access_unit_decoder import AccessUnitDecoder
from fluxshard.video.h264.round_trip import RoundTrip
from fluxshard.video.h264.stream_encoder import StreamEncoder
from fluxshard.video.letterbox import to_image
from fluxshard.video.picture import to_picture

SIZE = (96, 128)
B_FRAMES = {"preset": "medium", "bf": "2", "x264-params": "b-adapt=0:keyint=infinite:scenecut=0"}


def decoded(packets: list[Packet]) -> list[np.ndarray]:
    decoder, reformatter = AccessUnitDecoder(refuse_damage=True), VideoReformatter()
    return [
        to_picture(picture, reformatter) for packet in packets for picture in decoder.decode(packet.number, packet.data)
    ]


@pytest.mark.parametrize("size", [(96, 128), (100, 203), (97, 130), (17, 33)])
def test_pixels_are_what_the_packets_hold(size: tuple[int, int]) -> None:
    encoder = StreamEncoder(size)
    pictures = panning(size, (2, -3), 5)
    encoded = [encoder.encode(picture) for picture in pictures]
    assert [one.packet.number for one in encoded] == [0, 1, 2, 3, 4]
    assert [one.packet.keyframe for one in encoded] == [True, False, False, False, False]
    for one, received, picture in zip(encoded, decoded([one.packet for one in encoded]), pictures, strict=True):
        assert one.pixels.shape == (*size, 3) and (one.pixels == received).all()
        assert np.abs(one.pixels.astype(int) - picture).mean() < 12  # others differ by 60


def test_motion_comes_from_the_same_encoder() -> None:
    encoder = StreamEncoder((160, 224))
    fields = [encoder.encode(picture).motion for picture in panning((160, 224), (3, -5), 4)]
    assert fields[0] is None
    for field in fields[1:]:
        assert field is not None
        inner = field.displacement[3:-3, 4:-4][field.valid[3:-3, 4:-4]]
        assert len(inner) > 200 and (inner == (3, -5)).all(-1).mean() > 0.95


def test_colours_survive() -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :32], picture[:, 32:64], picture[:, 64:] = (250, 250, 250), (200, 40, 30), (3, 3, 3)
    seen = StreamEncoder((64, 96)).encode(picture).pixels.astype(int)
    for column in (16, 48, 80):
        assert np.abs(seen[32, column] - picture[32, column]).max() <= 6


def test_a_keyframe_on_request_starts_a_stream() -> None:
    encoder = StreamEncoder(SIZE)
    encoded = []
    for index, picture in enumerate(panning(SIZE, (2, -3), 6)):
        if index == 3:
            encoder.request_keyframe()
        encoded.append(encoder.encode(picture))
    assert [one.packet.keyframe for one in encoded] == [True, False, False, True, False, False]
    assert encoded[3].motion is None and encoded[4].motion is not None
    for one, received in zip(encoded[3:], decoded([one.packet for one in encoded[3:]]), strict=True):
        assert (one.pixels == received).all()


def test_the_encoder_says_what_it_is_for_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    trip = RoundTrip(SIZE, "yuv420p", crf=18, x264="", purpose="testing")
    monkeypatch.setattr(trip, "_decoder", AccessUnitDecoder(max_pixels=16))
    encoder = StreamEncoder(SIZE)
    monkeypatch.setattr(encoder, "_round_trip", trip)
    with pytest.raises(VideoError, match=r"^testing failed at picture 0: "):
        encoder.encode(texture(*SIZE))


def clip_of(tmp_path: Path, kind: str) -> Path:
    pictures = panning(SIZE, (1, -2), 7)
    if kind == "images":
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / f"{index}.png")
        return tmp_path
    codec, options = {
        "b-frames": ("libx264", B_FRAMES),
        "mjpeg": ("mjpeg", {"qscale": "2"}),
        "hevc": ("libx265", {"x265-params": "log-level=none"}),
        "mpeg4": ("mpeg4", {"qscale": "2", "bf": "0"}),
    }[kind]
    return write_clip(tmp_path / "a.mkv", pictures, codec, options)


@pytest.mark.parametrize("kind", ["images", "b-frames", "mjpeg", "hevc", "mpeg4"])
def test_sources_without_packets_to_send_on_are_encoded(tmp_path: Path, kind: str) -> None:
    with video.open(clip_of(tmp_path, kind), size=(64, 96), packets=True, stride=2) as source:
        assert source.packet_stream == PacketStream(picture_size=(64, 96), encoded_here=True, fps=source.fps)
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 2, 4, 6]
    assert [frame.packet_number for frame in frames] == [0, 1, 2, 3]
    assert all(len(frame.packets) == 1 for frame in frames)
    assert [frame.motion_source for frame in frames] == ["none", "encoder", "encoder", "encoder"]
    for frame, received in zip(frames, decoded([frame.packets[0] for frame in frames]), strict=True):
        assert (frame.pixels == received).all() and torch.equal(frame.image, to_image(frame.pixels))
        assert frame.picture.shape == (*SIZE, 3)
        placed = frame.letterbox.place(frame.picture)
        assert 0 < np.abs(frame.pixels.astype(int) - placed).mean() < 12


@pytest.mark.parametrize(
    ("vectors", "kinds"), [("none", ["none"] * 3), ("codec", ["none", "codec", "codec"]), ("encode", ["encoder"])]
)
def test_motion_is_where_it_is_asked_for(tmp_path: Path, vectors: video.source.Vectors, kinds: list[str]) -> None:
    with video.open(clip_of(tmp_path, "mpeg4"), size=(64, 96), packets=True, vectors=vectors) as source:
        frames = [next(source) for _ in range(3)]
    assert [frame.motion_source for frame in frames][-len(kinds) :] == kinds
    for frame, received in zip(frames, decoded([frame.packets[0] for frame in frames]), strict=True):
        assert (frame.pixels == received).all()


def test_vectors_encode_makes_packets_even_if_the_source_has_some(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", panning(SIZE, (1, -2), 3))
    with video.open(path, size=(64, 96), packets=True, vectors="encode") as source:
        assert source.packet_stream is not None and source.packet_stream.encoded_here
        assert source.request_keyframe()
        first, second, third = next(source), next(source), next(source)
    assert first.packets[0].keyframe and not second.packets[0].keyframe and third.motion_source == "encoder"


def test_a_keyframe_on_request_comes_with_the_next_frame(tmp_path: Path) -> None:
    with video.open(clip_of(tmp_path, "images"), packets=True) as source:
        first, second = next(source), next(source)
        assert source.request_keyframe()
        third, fourth = next(source), next(source)
    keyframes = [frame.packets[0].keyframe for frame in (first, second, third, fourth)]
    assert keyframes == [True, False, True, False]
    assert third.motion is None and third.motion_source == "none"
