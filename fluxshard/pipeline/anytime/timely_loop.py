"""A loop that answers every frame within a time: with its own result, or with the newest one moved to it."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import reduce
from types import TracebackType
from typing import Self

from torch import Tensor

from fluxshard.errors import OptionError, StateError
from fluxshard.models.detections.advance import advance
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import MotionField
from fluxshard.options import is_number
from fluxshard.pipeline.device import RunDevice
from fluxshard.pipeline.stream_loop import StreamFrame, StreamLoop, StreamSession, Track
from fluxshard.runtime.stats import FrameStats
from fluxshard.video.frame import Frame
from fluxshard.video.live.background import overtaking

_NEWEST = 0.25  # weight of the newest time in the mean time of a move


@dataclass(frozen=True, slots=True, eq=False)
class _Offered:
    """A frame that waits to be run, and its number; frames that nobody ran are in its motion and its packets."""

    number: int
    frame: Frame


@dataclass(frozen=True, slots=True, eq=False)
class _Result:
    """What a frame's run gave."""

    number: int
    step: StreamFrame


class TimelyLoop:
    """Answers every frame of a stream within a time; a context manager.

    The loop below runs in a thread of its own, one frame after the other: the newest one that was offered whenever it
    is free, with the motion of those that it did not take. A frame whose own result is there in time has that. Any
    other has the newest result, moved along the motion of every frame since. Only the first frame of a stream, and one
    that starts anew, waits for its own result, however long that takes: there is nothing to move.

    What a run takes (work, bytes, time on the link) is in the statistics of the first answer that has its result, so
    that sums over answers are those over runs.

    Args:
      loop: over a session that nobody else uses, with `detect` and without a carrier of its own.
      within_ms: from the call until the answer. What frames wait before the call comes on top.

    Raises:
      OptionError: a time that is not above 0, or a loop that finds nothing to move.
    """

    def __init__(self, loop: StreamLoop, within_ms: float) -> None:
        if not (is_number(within_ms) and within_ms > 0):
            raise OptionError(f"within_ms (={within_ms!r}) must be a finite number above 0")
        if loop.detect is None or loop.carrier is not None:
            raise OptionError("answers by a deadline need detections, and a loop without results carried by itself")
        self._loop, self._within_s = loop, within_ms / 1e3
        self._changed = threading.Condition()
        self._offered: _Offered | None = None
        self._results: list[_Result] = []  # that no answer has had
        self._error: BaseException | None = None
        self._closing = False
        self._number = 0  # of the last frame that was offered, from 1
        self._motions: deque[tuple[int, MotionField | None]] = deque()  # of the frames after the newest result's
        self._result: _Result | None = None  # the newest that an answer has had
        self._moved: Detections | None = None  # its detections, where its objects are in the last frame
        self._move_s = 0.0  # mean time of one move
        self._thread = threading.Thread(target=self._work, name="fluxshard-answers", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread, after the frame that it runs. Results that no answer has had are lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def session(self) -> StreamSession:
        """Runs the frames."""
        return self._loop.session

    @property
    def device(self) -> RunDevice:
        """Where images are taken."""
        return self._loop.device

    @property
    def track(self) -> Track | None:
        """Gives what was found identities."""
        return self._loop.track

    def step(self, image: Tensor, motion: MotionField | None = None, frame: Frame | None = None) -> StreamFrame:
        """Answers the next frame.

        Args:
          image, motion: of the frame; the loop below places the frame itself, since it may run a later one.
          frame: of the video.

        Returns:
          the frame's own step; or one with the newest result, moved to this frame: `carried` says over how many.

        Raises:
          StateError: there is no frame, or the loop is closed.
          FluxShardError: a frame's run failed, this one's or one that was offered before; nothing runs any more.
        """
        if frame is None:
            raise StateError("answers by a deadline are given to frames of a video: step(image, motion, frame)")
        started = time.monotonic()
        anew = self._result is None or frame.starts_anew
        self._offer(frame, anew=anew)
        fresh: list[_Result] = []
        if not anew:
            self._follow()
        until = None if anew else started + self._within_s
        while newer := self._newer(until):
            fresh += newer
            self._take(newer[-1])
            if newer[-1].number == self._number:
                break
        return self._answer(fresh, 1e3 * (time.monotonic() - started))

    def _offer(self, frame: Frame, *, anew: bool) -> None:
        with self._changed:
            if self._closing:
                raise StateError("answers by a deadline: the loop is closed")
            self._number += 1
            if anew:  # whatever is still under way says nothing of this frame
                self._motions.clear()
            else:
                self._motions.append((self._number, frame.motion))
            if self._offered is not None:
                frame = overtaking(self._offered.frame, frame)
            self._offered = _Offered(self._number, frame)
            self._changed.notify_all()
        if anew:
            self._result = self._moved = None

    def _newer(self, until: float | None) -> list[_Result]:
        """Results that no answer has had, in order, as soon as the last can be moved here in time; none where it can't.

        Args:
          until: when the frame has to be answered; None waits for the frame's own result.
        """
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                least = self._number if until is None else 0
                if self._results and self._results[-1].number >= least:
                    newer, self._results = self._results, []
                    return newer
                left = None if until is None else until - time.monotonic() - self._move_s
                if left is not None and left <= 0:
                    return []
                self._changed.wait(left)

    def _take(self, result: _Result) -> None:
        """Moves a result to this frame, in place of the one before."""
        while self._motions and self._motions[0][0] <= result.number:
            self._motions.popleft()
        self._result, self._moved = result, result.step.found
        for _, motion in self._motions:
            self._move(motion)

    def _follow(self) -> None:
        """Moves the newest result from the frame before to this one."""
        self._move(self._motions[-1][1])

    def _move(self, motion: MotionField | None) -> None:
        assert self._moved is not None
        started = time.monotonic()
        self._moved = advance(self._moved, motion)
        took = time.monotonic() - started
        self._move_s += (_NEWEST if self._move_s else 1.0) * (took - self._move_s)

    def _answer(self, fresh: list[_Result], ms: float) -> StreamFrame:
        result = self._result
        assert result is not None
        carried, last = self._number - result.number, result.step
        if not fresh:
            return replace(
                last, outputs=None, found=self._moved, regions=None, stats=last.stats.without_work(ms), run_ms=ms,
                planned_work=0.0, decode_ms=0.0, focus_ms=0.0, placement=None, calibrated=None, carried=carried,
            )  # fmt: skip
        steps = [one.step for one in fresh]
        work = [step.planned_work for step in steps if step.planned_work is not None]
        summed = replace(last, stats=reduce(FrameStats.with_that_of, (step.stats for step in steps)), run_ms=ms)
        summed = replace(summed, planned_work=sum(work) if work else None, decode_ms=0.0, focus_ms=0.0)
        if not carried:
            return summed
        return replace(summed, outputs=None, found=self._moved, regions=None, carried=carried)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._offered is not None)
                if self._closing:
                    return
                offered, self._offered = self._offered, None
            assert offered is not None
            try:
                frame = offered.frame
                step = self._loop.step(self._loop.device.place(frame.planes), frame.motion, frame)
            except BaseException as error:  # for whoever asks for the next answer
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._results.append(_Result(offered.number, step))
                self._changed.notify_all()
