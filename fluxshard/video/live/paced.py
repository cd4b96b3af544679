"""Frames of a video, at their own times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from fluxshard.video.frame import Frame
from fluxshard.video.sources.video_source import VideoSource


class PacedFrames:
    """The frames of a video, each not before its time.

    Args:
      source: of the frames; whoever opened it closes it.
      at_times: False gives them as fast as they are taken.
    """

    dropped = 0

    def __init__(self, source: VideoSource, *, at_times: bool = True) -> None:
        self._source, self._at_times = source, at_times
        self.picture_size, self.fps, self.frame_count = source.picture_size, source.fps, source.frame_count
        self.pixel_aspect = source.pixel_aspect

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Does nothing: the source is not its own."""

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames, once.

        Raises:
          VideoError: the source is damaged.
        """
        start: float | None = None
        for frame in self._source:
            if self._at_times:
                now = time.monotonic()
                start = now - frame.time_s if start is None else start
                if frame.time_s > now - start:
                    time.sleep(frame.time_s - (now - start))
                frame = replace(frame, captured_s=time.monotonic())
            yield frame
