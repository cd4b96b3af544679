"""Takes the frames of a video in a thread, a few before they are wanted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from fluxshard.pipeline.overlap.workers import end, worker
from fluxshard.video import Frame


class ReadAhead:
    """Frames with the time that each took to come. A context manager that ends its thread, and leaves the video open.

    Args:
      frames: of a video.
      ahead: most frames that wait, at least 1: for a live source each of them is as much older when it is run.
      interrupt: called at the end, before the thread is waited for: ends a wait for a frame that may not come.
    """

    def __init__(self, frames: Iterable[Frame], ahead: int, interrupt: Callable[[], None] = lambda: None) -> None:
        self._frames = iter(frames)
        self._ahead, self._interrupt = ahead, interrupt
        self._over = False
        self._worker = worker("read")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the thread, after the frame that it reads."""
        try:
            self._interrupt()
        finally:
            end((self._worker,))

    def __iter__(self) -> Iterator[tuple[Frame, float]]:
        """Yields each frame, and the wall clock of reading it in milliseconds; once.

        Raises:
          FluxShardError, OSError: the video failed; all frames before that were yielded.
        """
        waiting: deque[Future[tuple[Frame, float] | None]] = deque()
        for _ in range(self._ahead):
            waiting.append(self._worker.submit(self._read))
        while (taken := waiting.popleft().result()) is not None:
            waiting.append(self._worker.submit(self._read))
            yield taken

    def _read(self) -> tuple[Frame, float] | None:
        """The next frame; None after the last, and after an error."""
        if self._over:
            return None
        start = time.perf_counter()
        try:
            frame = next(self._frames, None)
        except BaseException:
            self._over = True
            raise
        if frame is None:
            self._over = True
            return None
        return frame, 1e3 * (time.perf_counter() - start)
