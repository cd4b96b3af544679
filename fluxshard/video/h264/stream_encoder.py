"""Makes a stream of packets from images, for sources whose own packets cannot be sent on."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from fluxshard.motion import MotionField
from fluxshard.video.h264.nal_units import starts_stream
from fluxshard.video.h264.round_trip import RoundTrip
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors
from fluxshard.video.motion.picture_vectors import vectors_of
from fluxshard.video.packet import Packet
from fluxshard.video.picture import to_picture

_CRF = 18
# whole blocks, so that vectors are those of macroblocks; what is added to the fastest preset halves the packets and
# costs a third of its time
_X264 = "partitions=none:subme=2:me=hex:cabac=1:8x8dct=1:deblock=0,0"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedPicture:
    """An image as a receiver of its packet sees it.

    Attributes:
      packet: that holds it.
      pixels: `(H, W, 3)` uint8, RGB, decoded from the packet.
      motion: since the picture before, in whole pixels; None for keyframes.
    """

    packet: Packet
    pixels: NDArray[np.uint8]
    motion: MotionField | None


class StreamEncoder:
    """Encodes the images of one video, one packet for each.

    Args:
      size: (H, W) of the images.

    Raises:
      VideoError: this build of FFmpeg has no libx264.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._letterbox = Letterbox(size, size)
        # 4:2:0 has half as many samples, but needs even sizes
        self._pixel_format = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        self._round_trip = RoundTrip(
            size, self._pixel_format, crf=_CRF, x264=_X264, purpose="encoding packets to send on"
        )
        self._to_yuv, self._to_rgb = VideoReformatter(), VideoReformatter()
        self._count = 0
        self._keyframe_wanted = False

    def request_keyframe(self) -> None:
        """Makes the next packet a keyframe."""
        self._keyframe_wanted = True

    def encode(self, pixels: NDArray[np.uint8]) -> EncodedPicture:
        """Encodes `(H, W, 3)` uint8 RGB pixels.

        Raises:
          VideoError: the encoder failed.
        """
        frame = self._to_yuv.reformat(
            av.VideoFrame.from_ndarray(pixels, format="rgb24"),
            format=self._pixel_format,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        wanted, self._keyframe_wanted = self._keyframe_wanted, False
        data, decoded = self._round_trip.run(frame, keyframe=wanted)
        vectors = vectors_of(decoded)
        encoded = EncodedPicture(
            packet=Packet(number=self._count, data=data, keyframe=starts_stream(data)),
            pixels=to_picture(decoded, self._to_rgb),
            motion=None if vectors is None else field_from_vectors(vectors, self._letterbox),
        )
        self._count += 1
        return encoded
