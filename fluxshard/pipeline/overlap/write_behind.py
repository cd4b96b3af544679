"""Hands frames to sinks in threads, while later frames run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.overlap.workers import end, worker
from fluxshard.pipeline.sinks.sink import FrameSink, FrameView


class WriteBehind:
    """Two threads before the sinks: one prepares frames, the other writes them. A context manager that ends both.

    Frames are written in their order, each to all sinks before the next. After an error nothing more is written.

    Args:
      sinks: open; they are left open, and belong to the threads meanwhile.
      behind: most frames that are on their way, at least 1.
      failed: called after the first error, in the thread that writes: whoever waits for a frame need not do so.
    """

    def __init__(self, sinks: Sequence[FrameSink], behind: int, failed: Callable[[], None] = lambda: None) -> None:
        self._sinks = tuple(sinks)
        self._behind, self._failed = behind, failed
        self._error: BaseException | None = None  # the first, after which nothing is written
        self._preparing, self._writing = worker("prepare"), worker("write")
        self._waiting: deque[Future[FrameRecord]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the threads, after what they do; frames that wait are dropped."""
        end((self._preparing, self._writing))

    def put(self, record: FrameRecord, view: FrameView) -> None:
        """Takes the next frame; its work map, if a sink wants it, must stay valid."""
        prepared = self._preparing.submit(self._prepare, record, view)
        self._waiting.append(self._writing.submit(self._write, record, prepared))

    def written(self) -> Iterator[FrameRecord]:
        """Yields records of frames that all sinks have, in order; waits while too many are on their way.

        Raises:
          FluxShardError, OSError: a sink failed; all frames before that were yielded.
        """
        while self._waiting and (len(self._waiting) > self._behind or self._waiting[0].done()):
            yield self._waiting.popleft().result()

    def rest(self) -> Iterator[FrameRecord]:
        """Waits for all frames, and yields their records as `written` does.

        Raises:
          FluxShardError, OSError: as `written`.
        """
        while self._waiting:
            yield self._waiting.popleft().result()

    def _prepare(self, record: FrameRecord, view: FrameView) -> list[Callable[[], None]]:
        return [sink.prepare(record, view) for sink in self._sinks]

    def _write(self, record: FrameRecord, prepared: Future[list[Callable[[], None]]]) -> FrameRecord:
        if self._error is not None:
            raise self._error
        try:
            for write in prepared.result():
                write()
        except BaseException as error:  # for whoever asks for the record
            self._error = error
            self._failed()
            raise
        return record
