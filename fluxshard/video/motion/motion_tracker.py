"""Selects the source of each frame's motion, and accumulates motion over frames that are not yielded."""

from __future__ import annotations

from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import MotionField, MotionSource
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors
from fluxshard.video.motion.encoder_motion import MotionEncoder
from fluxshard.video.motion.motion_since import MotionSince
from fluxshard.video.motion.picture_vectors import refers_to_last, vectors_of

Vectors = Literal["auto", "codec", "encode", "none"]


class MotionTracker:
    """Motion of each yielded frame since the one yielded before.

    The stream's own vectors are used as long as each refers to the frame before: progressive pictures of the types I
    and P. At the first picture of another kind "auto" goes over to encoding what is yielded, and "codec" gives up.

    Args:
      letterbox: how pictures lie in the image.
      vectors: "auto", "codec", "encode" or "none", as in `fluxshard.video.open`.
      has_vectors: False where the decoder gives none, or where they are known to span several frames.
    """

    def __init__(self, letterbox: Letterbox, vectors: Vectors, *, has_vectors: bool) -> None:
        self._letterbox = letterbox
        self._vectors = vectors
        self._reading = has_vectors and vectors in ("auto", "codec")
        self._encoder: MotionEncoder | None = None
        self._last: NDArray[np.uint8] | None = None
        self._since_yield = MotionSince(letterbox.size)
        if vectors == "encode" or (vectors == "auto" and not self._reading):
            self._encoder = MotionEncoder(*letterbox.size)

    def decoded(self, frame: av.VideoFrame, *, intact: bool) -> None:
        """Processes a decoded frame, yielded or not, in decoding order; `intact` is False after or with damage."""
        if self._reading and not refers_to_last(frame):
            self._reading = False
            if self._vectors == "auto":
                self._encoder = MotionEncoder(*self._letterbox.size)
                if self._last is not None:
                    self._encoder.motion(self._last)
        self._since_yield.add(self._read(frame) if self._reading and intact else None)

    def yielded(self, pixels: NDArray[np.uint8]) -> tuple[MotionField | None, MotionSource]:
        """Returns the motion of the frame last decoded, whose image is `(H, W, 3)` uint8, and where it comes from."""
        source: MotionSource = "codec"
        if self._encoder is not None:
            motion, source = self._encoder.motion(pixels), "encoder"
        else:
            motion = None if self._last is None else self._since_yield.motion
        if self._vectors == "auto" or self._reading:
            self._last = pixels
        self._since_yield.restart()
        return motion, source if motion is not None else "none"

    def _read(self, frame: av.VideoFrame) -> MotionField | None:
        vectors = vectors_of(frame)
        return None if vectors is None else field_from_vectors(vectors, self._letterbox)
