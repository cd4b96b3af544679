from __future__ import annotations

import av
import pytest
from av.video.reformatter import VideoReformatter

from fluxshard.testing.pictures import panning
from fluxshard.video.h264.access_unit_decoder import AccessUnitDecoder
from fluxshard.video.h264.nal_units import START_CODE, units
from fluxshard.video.h264.stream_encoder import EncodedPicture, StreamEncoder
from fluxshard.video.motion.picture_vectors import vectors_of
from fluxshard.video.picture import to_picture

SIZE = (96, 128)


@pytest.fixture(scope="module")
def stream() -> list[EncodedPicture]:
    encoder = StreamEncoder(SIZE)
    return [encoder.encode(pixels) for pixels in panning(SIZE, (2, -3), 5)]


def test_one_picture_for_each_packet_under_its_number(stream: list[EncodedPicture]) -> None:
    decoder, reformatter = AccessUnitDecoder(motion_vectors=True), VideoReformatter()
    for one in stream:
        (picture,) = decoder.decode(one.packet.number + 1000, one.packet.data)
        assert picture.pts == one.packet.number + 1000
        assert (to_picture(picture, reformatter) == one.pixels).all()
        assert (vectors_of(picture) is None) == one.packet.keyframe
    assert decoder.flush() == []


def test_packets_without_a_picture_wait_for_the_next(stream: list[EncodedPicture]) -> None:
    decoder, reformatter = AccessUnitDecoder(), VideoReformatter()
    parts = list(units(stream[0].packet.data))
    for number, part in enumerate(parts[:-1]):
        assert decoder.decode(number, START_CODE + part) == []
    (picture,) = decoder.decode(9, START_CODE + parts[-1])
    assert picture.pts == 9 and (to_picture(picture, reformatter) == stream[0].pixels).all()


def test_what_waits_is_not_kept_without_limit(stream: list[EncodedPicture]) -> None:
    decoder = AccessUnitDecoder()
    message = START_CODE + b"\x06\x05" + b"\x41" * 30_000
    assert decoder.decode(0, message) == decoder.decode(1, message) == []
    with pytest.raises(av.FFmpegError):
        decoder.decode(2, message)
    (picture,) = decoder.decode(3, stream[0].packet.data)
    assert picture.pts == 3


def test_larger_pictures_than_allowed_are_refused_before_they_are_allocated(stream: list[EncodedPicture]) -> None:
    enough = (SIZE[0] + 256) * (SIZE[1] + 256)
    assert len(AccessUnitDecoder(max_pixels=enough).decode(0, stream[0].packet.data)) == 1
    with pytest.raises(av.FFmpegError):
        AccessUnitDecoder(max_pixels=SIZE[0] * SIZE[1] // 2).decode(0, stream[0].packet.data)


def test_damage_is_refused_or_marked(stream: list[EncodedPicture]) -> None:
    damaged = bytearray(stream[1].packet.data)
    damaged[40:60] = bytes(20)
    for refuse in (False, True):
        decoder = AccessUnitDecoder(refuse_damage=refuse)
        decoder.decode(0, stream[0].packet.data)
        try:
            pictures = decoder.decode(1, bytes(damaged[: len(damaged) // 2]))
        except av.FFmpegError:
            assert refuse
        else:
            assert not refuse and all(picture.is_corrupt for picture in pictures)
