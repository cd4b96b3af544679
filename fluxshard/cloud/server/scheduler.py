"""Frames of all streams, one after the other: the earliest deadline first."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_WEIGHT = 0.1  # of the newest frame in the mean service time


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A task that has run.

    Attributes:
      result: what it returned.
      queue_s: that it waited.
      service_s: that it took.
    """

    result: T
    queue_s: float
    service_s: float


@dataclass(order=True, slots=True)
class _Job:
    deadline: float
    number: int
    run: Callable[[], object] = field(compare=False)
    done: asyncio.Future[Done[object]] = field(compare=False)
    queued: float = field(compare=False)


class Scheduler:
    """Runs tasks in an executor's thread, so that the event loop never waits for a network. For one event loop.

    Args:
      executor: whose one thread runs the tasks: a processor's cores are all taken by one frame.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: list[_Job] = []
        self._numbers = itertools.count()
        self._running: _Job | None = None
        self._began = 0.0
        self._loop_task: asyncio.Task[None] | None = None
        self.service_s = 0.0
        """Mean time of a task."""

    @property
    def depth(self) -> int:
        """Tasks that wait or run."""
        return len(self._waiting) + (self._running is not None)

    def running_s(self, now: float) -> float:
        """Time for which the present task has run; 0 where none runs.

        Args:
          now: on the event loop's clock.
        """
        return now - self._began if self._running is not None else 0.0

    def wait_s(self, now: float) -> float:
        """Time that a task has to expect in the queue.

        Args:
          now: on the event loop's clock.
        """
        left = max(0.0, self.service_s - (now - self._began)) if self._running is not None else 0.0
        return left + len(self._waiting) * self.service_s

    async def run(self, deadline: float, task: Callable[[], T]) -> Done[T]:
        """Runs a task when its turn has come.

        Cancelling drops a task that has not begun; one that runs is run to its end.

        Args:
          deadline: on the event loop's clock; infinity for whenever there is time.
          task: for the executor's thread; its errors are raised here.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Done[object]] = loop.create_future()
        job = _Job(deadline, next(self._numbers), task, done, loop.time())
        heapq.heappush(self._waiting, job)
        if self._loop_task is None:
            self._loop_task = loop.create_task(self._work())
        try:
            return await done  # type: ignore[return-value]  # of this task
        except asyncio.CancelledError:
            if job in self._waiting:  # what will not run is nothing to wait for
                self._waiting.remove(job)
                heapq.heapify(self._waiting)
            raise

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                job = self._running = heapq.heappop(self._waiting)
                if job.done.cancelled():
                    continue
                self._began = loop.time()
                result, failure = None, None
                try:
                    result = await loop.run_in_executor(self._executor, job.run)
                except Exception as error:  # of the task: whoever waits for it is told
                    failure = error
                ended = loop.time()
                took = ended - self._began
                self.service_s = took if not self.service_s else self.service_s + _WEIGHT * (took - self.service_s)
                if job.done.cancelled():
                    continue
                if failure is not None:
                    job.done.set_exception(failure)
                else:
                    job.done.set_result(Done(result, self._began - job.queued, took))
        finally:
            self._running = self._loop_task = None
