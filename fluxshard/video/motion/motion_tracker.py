"""Selects the source of each frame's motion, and accumulates motion over frames that are not yielded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import CompileTimeError
from fluxshard.motion import MotionField, MotionSource
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors
from fluxshard.video.motion.encoder_motion import MotionEncoder
from fluxshard.video.motion.motion_estimator import MotionEstimator
from fluxshard.video.motion.motion_since import MotionSince
from fluxshard.video.motion.picture_vectors import refers_to_last, vectors_of

Vectors = Literal["auto", "codec", "search", "encode", "none"]
_log = logging.getLogger(__name__)


class MotionTracker:
    """Motion of each yielded frame since the one yielded before.

    The stream's own vectors are used as long as each refers to the frame before: progressive pictures of the types I
    and P, in one temporal layer. At the first picture of another kind "auto" goes over to a search in what is yielded,
    and "codec" gives up.

    Args:
      letterbox: how pictures lie in the image.
      vectors: "auto", "codec", "search", "encode" or "none", as in `fluxshard.video.open`.
      has_vectors: False where the decoder gives none, or where they are known to span several frames.
    """

    def __init__(self, letterbox: Letterbox, vectors: Vectors, *, has_vectors: bool) -> None:
        self._letterbox = letterbox
        self._vectors = vectors
        self._reading = has_vectors and vectors in ("auto", "codec")
        self._finder: _Finder | None = None
        self._last: NDArray[np.uint8] | None = None
        self._since_yield = MotionSince(letterbox.size)
        if vectors in ("search", "encode") or (vectors == "auto" and not self._reading):
            self._finder = _Finder(letterbox, vectors)

    def decoded(self, frame: av.VideoFrame, *, intact: bool, refers: bool = True) -> None:
        """Processes a decoded frame, yielded or not, in decoding order.

        Args:
          frame: the frame.
          intact: False after or with damage.
          refers: False where vectors may refer to others than the frame before; see `DecodedPicture.refers_to_last`.
        """
        if self._reading and not (refers and refers_to_last(frame)):
            self._reading = False
            if self._vectors == "auto":
                self._finder = _Finder(self._letterbox, self._vectors)
                if self._last is not None:
                    self._finder.motion(self._last)
        self._since_yield.add(self._read(frame) if self._reading and intact else None)

    def yielded(self, pixels: NDArray[np.uint8]) -> tuple[MotionField | None, MotionSource]:
        """Returns the motion of the frame last decoded, whose image is `(H, W, 3)` uint8, and where it comes from."""
        source: MotionSource = "codec"
        if self._finder is not None:
            motion, source = self._finder.motion(pixels), self._finder.source
        else:
            motion = None if self._last is None else self._since_yield.motion
        if self._vectors == "auto" or self._reading:
            self._last = pixels
        self._since_yield.restart()
        return motion, source if motion is not None else "none"

    def _read(self, frame: av.VideoFrame) -> MotionField | None:
        vectors = vectors_of(frame)
        return None if vectors is None else field_from_vectors(vectors, self._letterbox)


class _Finder:
    """Finds the motion between the images that it is shown.

    Args:
      letterbox: how pictures lie in the image.
      vectors: "encode", or a search: for "auto" an encoder takes its place where nothing can build its program.

    Raises:
      CompileTimeError: "search", and its program cannot be had.
      VideoError: this build of FFmpeg has no encoder.
    """

    def __init__(self, letterbox: Letterbox, vectors: Vectors) -> None:
        self.motion: Callable[[NDArray[np.uint8]], MotionField | None]
        self.source: MotionSource = "block_matching"
        if vectors != "encode":
            try:
                self.motion = MotionEstimator(letterbox.size)
                return
            except CompileTimeError as error:
                if vectors != "auto":
                    raise
                _log.warning("motion comes from an encoder, as its search cannot be built: %s", error)
        self.motion, self.source = MotionEncoder(*letterbox.size).motion, "encoder"
