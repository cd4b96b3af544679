"""Packets of real films: what a server decodes from them is what the edge has, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fluxshard import video
from fluxshard.cloud.decoding.decoder_process import DecoderProcess
from fluxshard.errors import WireError

SIZE = (352, 640)
OWN = "videos/carnd_solidWhiteRight_540p25.mp4"


def found(data_dir: Path, name: str) -> Path:
    path = data_dir / name
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def check(path: Path, *, own: bool, **arguments: Any) -> list[video.Frame]:
    """Sends every packet to a decoder, and compares the pictures of yielded frames."""
    frames = []
    with video.open(path, packets=True, **arguments) as source:
        stream = source.packet_stream
        assert stream is not None and stream.encoded_here is not own
        assert stream.picture_size == (source.picture_size if own else source.size)
        with DecoderProcess(stream.picture_size) as decoder:
            for frame in source:
                assert frame.packets[-1].number == frame.packet_number
                for packet in frame.packets:
                    picture = decoder.decode(
                        packet.number,
                        packet.data,
                        keyframe=packet.keyframe,
                        wanted=packet.number == frame.packet_number,
                    )
                assert picture is not None
                if own:
                    assert (picture == frame.picture).all()
                    picture = frame.letterbox.place(picture)
                assert (picture == frame.pixels).all()
                frames.append(frame)
    return frames


@pytest.mark.parametrize("vectors", ["auto", "none"])
def test_a_film_without_b_frames_sends_its_own(data_dir: Path, vectors: video.source.Vectors) -> None:
    frames = check(found(data_dir, OWN), own=True, size=SIZE, max_frames=35, vectors=vectors)
    assert [frame.packet_number for frame in frames] == list(range(35))
    assert [frame.index for frame in frames if frame.packets[0].keyframe] == [0, 30]
    assert frames[1].motion_source == ("codec" if vectors == "auto" else "none")


@pytest.mark.parametrize(("arguments", "step"), [({"stride": 4}, 4), ({"fps": 5.0}, 5)])
def test_packets_of_dropped_frames_are_sent_as_well(data_dir: Path, arguments: dict[str, Any], step: int) -> None:
    frames = check(found(data_dir, OWN), own=True, size=SIZE, max_frames=9, **arguments)
    assert [frame.index for frame in frames] == [step * index for index in range(9)]
    numbers = [packet.number for frame in frames for packet in frame.packets]
    assert numbers == list(range(8 * step + 1))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("videos/sam2_woman_dog_720p30.mp4", {}),
        ("videos/sam2_juggle_720p24.mp4", {"stride": 2}),
        ("videos/mmhuman3d_single_person_3dpw_like.mp4", {}),
        ("videos/openpose_street_720p50.avi", {"fps": 25.0}),
        ("davis/JPEGImages/480p/dog", {}),
        ("davis/JPEGImages/480p/blackswan", {"stride": 3}),
        (OWN, {"vectors": "encode"}),
    ],
)
def test_films_with_b_frames_and_images_are_encoded(data_dir: Path, name: str, arguments: dict[str, Any]) -> None:
    frames = check(found(data_dir, name), own=False, size=SIZE, max_frames=8, **arguments)
    assert [frame.packet_number for frame in frames] == list(range(8))
    assert [frame.motion_source for frame in frames] == ["none"] + ["encoder"] * 7


def test_a_server_joins_a_film_at_a_keyframe_only(data_dir: Path) -> None:
    with video.open(found(data_dir, OWN), size=SIZE, max_frames=33, packets=True) as source:
        frames = list(source)
    with DecoderProcess(frames[0].picture.shape[:2]) as decoder:
        for frame in frames[28:]:
            (packet,) = frame.packets
            if frame.index < 30:
                with pytest.raises(WireError, match="waits for a keyframe"):
                    decoder.decode(packet.number, packet.data, keyframe=packet.keyframe, wanted=True)
            else:
                picture = decoder.decode(packet.number, packet.data, keyframe=packet.keyframe, wanted=True)
                assert picture is not None and (picture == frame.picture).all()
