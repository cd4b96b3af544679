"""The event loop that all links of a process share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, started when it is first needed; it lives as long as the process.

    gRPC for asyncio takes one event loop per process: with several, its calls hang or fail (grpc/grpc 25364, 36096).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop; it runs."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="fluxshard-links", daemon=True).start()
            return self._loop

    def run(self, task: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts a task in the loop, from any other thread."""
        return asyncio.run_coroutine_threadsafe(task, self.loop)


LINKS = LoopThread()  # of the process: see the class
