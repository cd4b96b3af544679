"""Frames that a thread of their own reads: all of them, or the newest where more have come than can be run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from fluxshard.motion import accumulate
from fluxshard.video.frame import Frame
from fluxshard.video.live.paced import PacedFrames

_ASK_S = 0.1  # how often it is asked whether somebody wants an end, while no frame comes


class BackgroundFrames:
    """Reads frames in a thread, a few before they are taken.

    Args:
      frames: to read.
      most: that wait; when they do, reading waits. None keeps the newest only: a frame that was overtaken is dropped;
        its motion is added to that of the next, and its packets go with it.
      stopped: asked while no frame comes: whether somebody wants an end.

    Attributes:
      dropped: frames that were overtaken so far.
    """

    def __init__(
        self, frames: Iterable[Frame], most: int | None, *, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._frames, self._most, self._stopped = frames, most, stopped
        self.dropped = 0
        self._changed = threading.Condition()
        self._waiting: deque[Frame] = deque()
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
        self.interrupt()
        self._thread.join()

    def interrupt(self) -> None:
        """Nothing more is read after this frame: whoever waits for one, in any thread, is told that there is none."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        """Yields frames, once each; an error comes after all frames before it.

        Raises:
          VideoError: the source is damaged.
        """
        while (frame := self.take()) is not None:
            yield frame

    def take(self) -> Frame | None:
        """The next frame, as soon as there is one; None after the last, and when somebody wants an end.

        Raises:
          VideoError: the source is damaged.
        """
        with self._changed:
            while not self._waiting and not self._over:
                if self._closing or self._stopped():
                    return None
                self._changed.wait(_ASK_S)
            if self._waiting:
                frame = self._waiting.popleft()
                self._changed.notify_all()
                return frame
        if self._error is not None:
            raise self._error
        return None

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    self._put(frame)
                    self._changed.notify_all()
                if self._closing:
                    return
        except BaseException as error:  # for whoever takes the frames
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> None:
        if self._most is None:
            if self._waiting:
                frame = overtaking(self._waiting.popleft(), frame)
                self.dropped += 1
        else:
            self._changed.wait_for(lambda: self._closing or self._most is None or len(self._waiting) < self._most)
        self._waiting.append(frame)


class NewestFrames(BackgroundFrames):
    """Reads the frames of a video in a thread and keeps the newest only, so that no queue can make them old.

    Args:
      frames: to read.
    """

    def __init__(self, frames: PacedFrames) -> None:
        super().__init__(frames, None)
        self.picture_size, self.fps, self.frame_count = frames.picture_size, frames.fps, None
        self.pixel_aspect = frames.pixel_aspect


def overtaking(dropped: Frame, frame: Frame) -> Frame:
    """A frame in place of itself and the one before, which nobody has seen.

    Args:
      dropped: the earlier one.
      frame: that is left, with the motion and the packets of both.
    """
    motion = None
    if dropped.motion is not None and frame.motion is not None and not frame.starts_anew:
        motion = accumulate(dropped.motion, frame.motion, *frame.letterbox.size)
    return replace(
        frame,
        motion=motion,
        packets=(*dropped.packets, *frame.packets),
        starts_anew=dropped.starts_anew or frame.starts_anew,
        gap_s=dropped.gap_s + frame.gap_s,
    )
