"""Workers as processes: orders, answers, and what is told of processes that are gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from fluxshard.cloud.cluster.pool.process_pool import ProcessPool, WorkerProcess
from fluxshard.cloud.cluster.worker.messages import Beat, Describe, Description, Report, Revoke
from fluxshard.errors import TransportError

# follows orders without any streams; says nothing to Revoke, and something damaged to a Beat under a lease of 13 s
CODE = """
import os, socket, sys
from fluxshard.cloud.cluster.worker.messages import *
control = socket.socket(fileno=int(sys.argv[-1])).makefile("rwb", buffering=0)
for line in control:
    number, request = decode(line)
    if isinstance(request, Revoke):
        continue
    if isinstance(request, Beat) and request.lease_s == 13.0:
        control.write(b"nothing\\n")
    elif isinstance(request, Beat):
        control.write(encode(number, Report(sent_s=request.lease_s)))
    else:
        control.write(encode(number, Description(address=sys.argv[1], max_streams=1, pid=os.getpid())))
"""


def pool() -> ProcessPool:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return ProcessPool(lambda name: [sys.executable, "-c", CODE, name], environment)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def started(workers: ProcessPool) -> WorkerProcess:
    worker = await workers.start()
    assert isinstance(await worker.ask(Describe()), Description)
    return worker


def test_workers_have_names_of_their_own_and_answer() -> None:
    async def work() -> None:
        workers = pool()
        try:
            first, second = await asyncio.gather(started(workers), started(workers))
            assert (first.name, second.name) == ("w1", "w2")
            answer = await first.ask(Describe())
            assert answer == Description(address="w1", max_streams=1, pid=first.pid)
            many = await asyncio.gather(*(second.ask(Beat(lease_s=float(number))) for number in range(10)))
            assert [report.sent_s for report in many if isinstance(report, Report)] == list(map(float, range(10)))
        finally:
            await workers.close()
        assert not is_running(first.pid) and not is_running(second.pid)
        with pytest.raises(TransportError, match="worker w1 has ended"):
            await first.ask(Describe())

    asyncio.run(work())


def test_who_waits_for_a_worker_that_dies_is_told() -> None:
    async def work() -> None:
        workers = pool()
        try:
            worker = await started(workers)
            waiting = asyncio.create_task(worker.ask(Revoke(stream="s", epoch=1)))
            await asyncio.sleep(0.05)
            os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(TransportError, match="has ended"):
                await waiting
        finally:
            await workers.close()

    asyncio.run(work())


def test_a_frozen_worker_neither_answers_nor_fails_and_can_be_killed() -> None:
    async def work() -> None:
        workers = pool()
        try:
            worker = await started(workers)
            os.kill(worker.pid, signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await worker.ask(Describe())
            os.kill(worker.pid, signal.SIGCONT)
            assert isinstance(await worker.ask(Beat(lease_s=1.0)), Report), "late answers are not those of others"
            os.kill(worker.pid, signal.SIGSTOP)
            await worker.kill()
            assert not is_running(worker.pid)
            await worker.kill()
        finally:
            await workers.close()

    asyncio.run(work())


def test_a_worker_that_cannot_be_understood_is_ended() -> None:
    async def work() -> None:
        workers = pool()
        try:
            worker = await started(workers)
            with pytest.raises(TransportError, match="has ended"):
                await worker.ask(Beat(lease_s=13.0))
            assert not is_running(worker.pid)
        finally:
            await workers.close()

    asyncio.run(work())


def test_a_worker_ends_with_its_supervisors_socket() -> None:
    async def work() -> None:
        workers = pool()
        worker = await started(workers)
        await worker._channel.close()
        for _ in range(500):
            if not is_running(worker.pid):
                break
            await asyncio.sleep(0.01)
        assert not is_running(worker.pid)
        await workers.close()

    asyncio.run(work())


def test_a_command_that_does_not_exist() -> None:
    async def work() -> None:
        with pytest.raises(TransportError, match="worker w1 cannot be started"):
            await ProcessPool(lambda name: ["/nowhere/at/all"]).start()

    asyncio.run(work())
