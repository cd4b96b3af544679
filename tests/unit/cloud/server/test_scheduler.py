"""One frame after the other, the earliest deadline first; what is cancelled neither runs nor counts."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fluxshard.cloud.server.scheduler import Scheduler


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


class Blocked:
    """A task that runs until it is released."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._begun, self._release = threading.Event(), threading.Event()
        self.task = asyncio.ensure_future(scheduler.run(0.0, self._run))

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 20)

    def release(self) -> None:
        self._release.set()

    def _run(self) -> str:
        self._begun.set()
        assert self._release.wait(20)
        return "blocked"


def test_the_earliest_deadline_first(executor: ThreadPoolExecutor) -> None:
    async def run() -> list[float]:
        scheduler, order = Scheduler(executor), list[float]()
        first = Blocked(scheduler)
        await first.begun()
        deadlines = [30.0, 10.0, math.inf, 20.0, 10.5, -1.0]
        tasks = [
            asyncio.ensure_future(scheduler.run(deadline, lambda deadline=deadline: order.append(deadline)))
            for deadline in deadlines
        ]
        await asyncio.sleep(0)
        assert scheduler.depth == 7
        first.release()
        await asyncio.gather(first.task, *tasks)
        assert scheduler.depth == 0
        return order

    assert asyncio.run(run()) == [-1.0, 10.0, 10.5, 20.0, 30.0, math.inf]


def test_equal_deadlines_in_order_of_arrival(executor: ThreadPoolExecutor) -> None:
    async def run() -> list[int]:
        scheduler, order = Scheduler(executor), list[int]()
        first = Blocked(scheduler)
        await first.begun()
        tasks = [
            asyncio.ensure_future(scheduler.run(math.inf, lambda number=number: order.append(number)))
            for number in range(20)
        ]
        await asyncio.sleep(0)
        first.release()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == list(range(20))


def test_results_times_and_errors(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        scheduler = Scheduler(executor)
        first = Blocked(scheduler)
        await first.begun()
        second = asyncio.ensure_future(scheduler.run(1.0, lambda: threading.current_thread().name))
        fails = asyncio.ensure_future(scheduler.run(2.0, lambda: 1 / 0))
        last = asyncio.ensure_future(scheduler.run(3.0, lambda: "after the error"))
        await asyncio.sleep(0.02)
        first.release()
        done = await second
        assert done.queue_s >= 0.02 and 0 <= done.service_s < 10 and done.result != threading.current_thread().name
        with pytest.raises(ZeroDivisionError):
            await fails
        assert (await last).result == "after the error"
        assert (await first.task).result == "blocked"
        assert len(asyncio.all_tasks()) == 1, "nothing goes on while there is nothing to run"

    asyncio.run(run())


def test_what_is_cancelled_while_it_waits_never_runs_and_does_not_count(executor: ThreadPoolExecutor) -> None:
    """Symptom: streams that were gone made the server refuse others, as if their frames would still run."""

    async def run() -> None:
        scheduler, ran = Scheduler(executor), list[int]()
        first = Blocked(scheduler)
        await first.begun()
        tasks = [asyncio.ensure_future(scheduler.run(1.0, lambda n=n: ran.append(n))) for n in range(5)]
        await asyncio.sleep(0)
        scheduler.service_s = 0.5
        assert scheduler.depth == 6
        for task in tasks[1:4]:
            task.cancel()
        await asyncio.gather(*tasks[1:4], return_exceptions=True)
        assert scheduler.depth == 3
        assert scheduler.wait_s(scheduler._began + 0.1) == pytest.approx(0.4 + 2 * 0.5)
        first.release()
        await asyncio.gather(tasks[0], tasks[4])
        assert ran == [0, 4]

    asyncio.run(run())


def test_what_is_cancelled_while_it_runs_is_run_to_its_end(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        scheduler = Scheduler(executor)
        first = Blocked(scheduler)
        await first.begun()
        first.task.cancel()
        later = asyncio.ensure_future(scheduler.run(1.0, lambda: "later"))
        await asyncio.sleep(0.01)
        assert first.task.cancelled() and not later.done() and scheduler.depth == 2
        first.release()
        assert (await later).result == "later"

    asyncio.run(run())


def test_expected_waits(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        scheduler = Scheduler(executor)
        assert scheduler.wait_s(asyncio.get_running_loop().time()) == 0.0
        first = Blocked(scheduler)
        await first.begun()
        scheduler.service_s = 0.2
        assert scheduler.wait_s(scheduler._began + 0.05) == pytest.approx(0.15)
        assert scheduler.wait_s(scheduler._began + 7.0) == 0.0, "a task that takes longer than usual ends any moment"
        other = asyncio.ensure_future(scheduler.run(1.0, lambda: None))
        await asyncio.sleep(0)
        assert scheduler.wait_s(scheduler._began + 7.0) == pytest.approx(0.2)
        first.release()
        await other
        assert scheduler.service_s != 0.2 and scheduler.depth == 0

    asyncio.run(run())


def test_the_mean_service_time_is_learnt(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        scheduler = Scheduler(executor)
        done = await scheduler.run(0.0, lambda: None)
        assert scheduler.service_s == done.service_s > 0
        scheduler.service_s = 1.0
        done = await scheduler.run(0.0, lambda: None)
        assert scheduler.service_s == pytest.approx(0.9 + 0.1 * done.service_s)

    asyncio.run(run())


def test_an_event_loop_that_ends_leaves_nothing(executor: ThreadPoolExecutor) -> None:
    """Symptom: "Task was destroyed but it is pending" where a stream ended while its frame ran."""
    scheduler = Scheduler(executor)

    async def leave() -> Blocked:
        blocked = Blocked(scheduler)
        await blocked.begun()
        return blocked

    blocked = asyncio.run(leave())
    blocked.release()
    assert scheduler.depth == 0

    async def again() -> str:
        return (await scheduler.run(0.0, lambda: "again")).result

    assert asyncio.run(again()) == "again"
