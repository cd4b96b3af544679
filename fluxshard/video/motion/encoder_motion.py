"""Motion estimation by a fast H.264 encoder, for pictures without usable codec vectors."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import MotionField
from fluxshard.video.h264.round_trip import RoundTrip
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors
from fluxshard.video.motion.picture_vectors import vectors_of

_MACROBLOCK_PX = 16
_X264 = "partitions=none:subme=0:me=hex"  # subme=0: whole pixels


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
        padded = height + self._padding[0], width + self._padding[1]
        # gray: a third faster than with chroma, with the same motion
        self._round_trip = RoundTrip(padded, "gray", crf=23, x264=_X264, purpose="finding motion")

    def motion(self, pixels: NDArray[np.uint8]) -> MotionField | None:
        """Motion of `(H, W, 3)` uint8 RGB pixels since the previous call, in whole pixels; None for the first.

        Raises:
          VideoError: the encoder or its decoder failed.
        """
        _, decoded = self._round_trip.run(av.VideoFrame.from_ndarray(self._padded(pixels), format="rgb24"))
        vectors = vectors_of(decoded)
        return None if vectors is None else field_from_vectors(vectors, self._letterbox)

    def _padded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels padded to whole macroblocks by repeating the last row and column."""
        bottom, right = self._padding
        if not bottom and not right:
            return pixels
        return np.pad(pixels, ((0, bottom), (0, right), (0, 0)), mode="edge")
