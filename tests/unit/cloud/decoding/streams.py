"""Short H.264 streams with the pictures that they hold."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fluxshard.testing.pictures import panning
from fluxshard.video.h264.nal_units import START_CODE, starts_stream, units
from fluxshard.video.h264.round_trip import RoundTrip
from fluxshard.video.packet import Packet
from fluxshard.video.picture import to_picture

SIZE = (96, 128)
MESSAGE = START_CODE + b"\x06\x05\x10" + b"0123456789abcdef" + b"\x80"  # a packet without a picture


@dataclass
class Stream:
    packets: list[Packet]
    pictures: list[NDArray[np.uint8]]


def encoded(
    n: int = 6,
    size: tuple[int, int] = SIZE,
    x264: str = "subme=2:cabac=1:8x8dct=1",
    keyframes: tuple[int, ...] = (),
    pixel_format: str = "yuv420p",
) -> Stream:
    trip, reformatter = RoundTrip(size, pixel_format, crf=20, x264=x264, purpose="testing"), VideoReformatter()
    made = Stream([], [])
    for number, picture in enumerate(panning(size, (2, -3), n)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
        data, decoded = trip.run(frame, keyframe=number in keyframes)
        made.packets.append(Packet(number=number, data=data, keyframe=starts_stream(data)))
        made.pictures.append(to_picture(decoded, reformatter))
    return made


def parts(data: bytes) -> list[bytes]:
    """The NAL units of a packet, each with its start code."""
    return [START_CODE + unit for unit in units(data)]
