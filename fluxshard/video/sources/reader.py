"""A source of decoded pictures, and the pictures that it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av

from fluxshard.video.packet import Packet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedPicture:
    """A picture of a source.

    Attributes:
      frame: as it was decoded; it may not be upright.
      intact: whether it is neither damaged nor the first after damage.
      packets: packets since the picture before, the last of which holds this one; empty where the source carries none.
      pixel_aspect: width over height of a stored pixel as it is shown.
      refers_to_last: False where its motion vectors, or those of later pictures, may refer to others than the one
        before, for reasons that the picture itself does not show.
    """

    frame: av.VideoFrame
    intact: bool
    packets: tuple[Packet, ...] = ()
    pixel_aspect: Fraction = Fraction(1)
    refers_to_last: bool = True


class Reader(Protocol):
    """A source of decoded pictures.

    Attributes:
      name: name of the source in messages.
      fps: frames per second; None where unknown.
      frame_count: number of pictures; None where unknown.
      time_base: seconds per tick of the pictures' time stamps; None without time stamps.
      has_vectors: whether each picture carries motion vectors that refer to the previous picture, as far as the
        source's header tells.
      live: whether pictures come when they happen, as from a camera, and not when they are asked for.
      paced: whether they come by the sender's clock, so that they grow old or are lost where nobody takes them.
      endless: whether an orderly end is that of the connection, and not of the video.
      damaged: pictures that were left out so far, since they or parts of them could not be decoded.
      carries_packets: whether pictures come with the packets that hold them; known from the first picture on.
    """

    name: str
    fps: float | None
    frame_count: int | None
    time_base: Fraction | None
    has_vectors: bool
    live: bool
    paced: bool
    endless: bool
    damaged: int
    carries_packets: bool

    def frames(self) -> Iterator[DecodedPicture]:
        """Yields pictures in presentation order."""

    def close(self) -> None:
        """Releases files and devices."""
