"""Frames as a camera gives them: at their own times, and the newest where more have come than can be run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from fluxshard.motion import accumulate
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


class NewestFrames:
    """Reads frames in a thread of its own and keeps the newest only, so that no queue can make them old.

    A frame that was overtaken is dropped; its motion is added to that of the next, and its packets go with it.

    Args:
      frames: to read.

    Attributes:
      dropped: frames that were overtaken so far.
    """

    def __init__(self, frames: PacedFrames) -> None:
        self._frames = frames
        self.picture_size, self.fps, self.frame_count = frames.picture_size, frames.fps, None
        self.pixel_aspect = frames.pixel_aspect
        self.dropped = 0
        self._ready = threading.Condition()
        self._newest: Frame | None = None
        self._error: BaseException | None = None
        self._over = self._closing = False
        self._thread = threading.Thread(target=self._read, name="fluxshard-frames", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the thread, after the frame that it reads."""
        self._closing = True
        self._thread.join()

    def __iter__(self) -> Iterator[Frame]:
        """Yields the newest frame whenever one is asked for, once each.

        Raises:
          VideoError: the source is damaged.
        """
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._newest is not None or self._over)
                frame, self._newest = self._newest, None
            if frame is None:
                if self._error is not None:
                    raise self._error
                return
            yield frame

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._ready:
                    if self._newest is not None:
                        frame = _overtaking(self._newest, frame)
                        self.dropped += 1
                    self._newest = frame
                    self._ready.notify()
                if self._closing:
                    return
        except BaseException as error:  # for whoever takes the frames
            self._error = error
        finally:
            with self._ready:
                self._over = True
                self._ready.notify()


def _overtaking(dropped: Frame, frame: Frame) -> Frame:
    """A frame in place of itself and the one before, which nobody has seen."""
    motion = None
    if dropped.motion is not None and frame.motion is not None:
        motion = accumulate(dropped.motion, frame.motion, *frame.letterbox.size)
    return replace(frame, motion=motion, packets=(*dropped.packets, *frame.packets))
