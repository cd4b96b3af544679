"""Packets of a compressed video stream, as they are sent on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet of an H.264 stream without B-frames: one picture, but for packets without any picture.

    Attributes:
      number: number of the packet in its stream, from 0.
      data: H.264 in Annex B: NAL units behind start codes.
      keyframe: whether decoding can start here: an IDR picture with its parameter sets in front of it.
    """

    number: int
    data: bytes
    keyframe: bool

    def __repr__(self) -> str:
        return f"Packet({self.number}, {len(self.data)} bytes{', keyframe' if self.keyframe else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketStream:
    """What the packets of a video have in common.

    Attributes:
      codec: "h264".
      picture_size: (h, w) of the decoded pictures.
      encoded_here: False for the source's own packets; True where these cannot be sent on, and the letterboxed
        pictures of yielded frames are encoded instead.
      fps: packets per second; None where unknown.
    """

    codec: Literal["h264"] = "h264"
    picture_size: tuple[int, int]
    encoded_here: bool
    fps: float | None
