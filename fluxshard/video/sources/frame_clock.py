"""Times of a source's pictures, whatever their time stamps are like."""

from __future__ import annotations

from fractions import Fraction

import av

from fluxshard.video.sources.image_reader import IMAGES_FPS

LEAST_FPS, MOST_FPS = 0.01, 1000
"""That a film may have; what a source says beyond is a guess that went wrong."""


class FrameClock:
    """Seconds since the first picture. They grow: stamps that are missing, stand still or go back are made up for.

    Args:
      time_base: seconds per tick of the time stamps; None without time stamps.
      fps: frames per second; None where unknown.
    """

    def __init__(self, time_base: Fraction | None, fps: float | None) -> None:
        self._time_base, self._fps = time_base, fps or IMAGES_FPS
        self._start_s: float | None = None  # stamp of the first picture, moved where stamps go back
        self._last_s = -1.0

    def time_of(self, frame: av.VideoFrame, index: int) -> float:
        """Time of the next picture.

        Args:
          frame: decoded picture.
          index: its number in the source.
        """
        if frame.pts is None or self._time_base is None:
            expected = index / self._fps
            time_s = expected if self._start_s is None else self._last_s + 1 / self._fps
        else:
            stamp_s = float(frame.pts * self._time_base)
            if self._start_s is None:
                self._start_s = stamp_s - (self._last_s + 1 / self._fps if self._last_s >= 0 else 0.0)
            time_s = stamp_s - self._start_s
            if time_s <= self._last_s:
                time_s = self._last_s + 1 / self._fps
                self._start_s = stamp_s - time_s
        self._last_s = time_s
        return time_s
