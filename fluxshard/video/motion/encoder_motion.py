"""Motion estimation by a fast H.264 encoder, for pictures without usable codec vectors."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

from fluxshard.errors import VideoError
from fluxshard.motion import MotionField
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors, vectors_of

_MACROBLOCK_PX = 16
# one reference and no B-frames: each vector refers to the picture before; subme=0: whole pixels
_X264 = "keyint=infinite:bframes=0:ref=1:scenecut=0:weightp=0:partitions=none:subme=0:me=hex"


class MotionEncoder:
    """Estimates the motion between successive pictures of one size.

    Encodes each picture with x264 at its fastest preset and reads the motion vectors back with the H.264 decoder.

    Args:
      height, width: size of the pictures in pixels.

    Raises:
      VideoError: this build of FFmpeg has no libx264.
    """

    def __init__(self, height: int, width: int) -> None:
        self._letterbox = Letterbox((height, width), (height, width))
        self._padding = (-height % _MACROBLOCK_PX, -width % _MACROBLOCK_PX)
        self._count = 0
        try:
            encoder = av.CodecContext.create("libx264", "w")
        except (av.codec.codec.UnknownCodecError, av.FFmpegError) as error:
            raise VideoError(
                "this build of FFmpeg has no libx264, which finds motion where a stream has no usable vectors; "
                "open the video with vectors='codec' or 'none'"
            ) from error
        encoder.height, encoder.width = height + self._padding[0], width + self._padding[1]
        encoder.pix_fmt = "gray"  # a third faster than with chroma, with the same motion
        encoder.thread_count = 1  # x264 encodes one slice per thread: vectors would depend on the machine
        encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "x264-params": _X264}
        decoder = av.CodecContext.create("h264", "r")
        decoder.thread_type = "SLICE"  # frame threading delays pictures
        decoder.options = {"flags2": "+export_mvs"}
        decoder.flags |= Flags.low_delay
        self._encoder, self._decoder = encoder, decoder

    def motion(self, pixels: NDArray[np.uint8]) -> MotionField | None:
        """Motion of `(H, W, 3)` uint8 RGB pixels since the previous call, in whole pixels; None for the first.

        Raises:
          VideoError: the encoder or its decoder failed.
        """
        frame = av.VideoFrame.from_ndarray(self._padded(pixels), format="rgb24")
        frame.pts = self._count
        self._count += 1
        try:
            decoded = [picture for packet in self._encoder.encode(frame) for picture in self._decoder.decode(packet)]
        except av.FFmpegError as error:
            raise VideoError(f"finding motion failed at picture {self._count - 1}: {error.strerror}") from error
        if len(decoded) != 1:
            raise VideoError(
                f"finding motion failed at picture {self._count - 1}: "
                f"the encoder gave {len(decoded)} pictures back; expected 1"
            )
        vectors = vectors_of(decoded[0])
        return None if vectors is None else field_from_vectors(vectors, self._letterbox)

    def _padded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels padded to whole macroblocks by repeating the last row and column."""
        bottom, right = self._padding
        if not bottom and not right:
            return pixels
        return np.pad(pixels, ((0, bottom), (0, right), (0, 0)), mode="edge")
