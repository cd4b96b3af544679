"""The shape of a container's pixels, which may change within the video."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

_LARGEST = 16  # of a pixel; beyond that, what a header says is not meant


class PixelAspect:
    """Width over height of stored pixels as they are shown.

    Containers say it once, for the whole video, and take precedence; the codec says it anew with each of its headers.
    Where it no longer says what it said at the first picture, it is the codec's that holds.

    Args:
      stream: of the pictures.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._codecs: Fraction | None = None  # at the first picture
        self._first: Fraction | None = None
        self._last = Fraction(1)

    def of(self, frame: av.VideoFrame, codec: VideoCodecContext) -> Fraction:
        """Aspect of a picture, 1 where nothing says; asked in the order of pictures.

        A decoder that holds pictures back is ahead of them. As long as its size is another than the picture's, its
        aspect is not taken, either; where nothing but the aspect changes, pictures that it holds get the new one.

        Args:
          frame: the picture.
          codec: that has decoded it.
        """
        own = codec.sample_aspect_ratio or None
        if self._first is None:
            self._codecs, self._first = own, _meant(self._stream.sample_aspect_ratio or own)
            self._last = self._first
        elif (frame.height, frame.width) == (codec.height, codec.width):
            self._last = self._first if own == self._codecs else _meant(own)
        return self._last


def _meant(aspect: Fraction | None) -> Fraction:
    if not aspect or not 1 / _LARGEST <= aspect <= _LARGEST:
        return Fraction(1)
    return Fraction(aspect)
