"""Streams that are opened and cancelled again and again leave no tasks, threads, descriptors or memory.

Symptom elsewhere: every cancelled stream leaks; grpc/grpc 43360 (222 000 arrays in 12 days), 38499; Savant 952, 1169.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref

import pytest

from fluxshard.cloud.edge.connection.link import CloudLink
from fluxshard.cloud.server.outbox import Outbox
from fluxshard.cloud.server.stream_frames import StreamFrames
from fluxshard.runtime.endpoints.ordered_session import OrderedSession
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.in_process import InProcessTransport
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import fake_model, moving_frames, server_of
from tests.offload.streams import PLANNED, STATM, Stream, resident_bytes, serving, tasks_of_links, until

FAKE = fake_model()
MODEL = hooked(FAKE, lambda _: FAKE.program.engine.calls.clear())  # type: ignore[attr-defined]  # a fake remembers all


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def alive(*kinds: type) -> int:
    gc.collect()
    return sum(issubclass(type(one), kinds) for one in gc.get_objects())


async def cycles(n: int, every: int) -> list[int]:
    """Opens, runs a frame, and cancels: before its answer, within it, or after it.

    Args:
      n: cycles.
      every: so many cycles, resident bytes are noted.
    """
    server = server_of(MODEL)
    tasks, resident = len(asyncio.all_tasks()), list[int]()
    frame = next(moving_frames(1))
    for number in range(n):
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, PLANNED))
        edge.send(*ScriptedFrames(MODEL, PLANNED).messages(frame, welcome.epoch))
        if number % 3 == 1:
            await edge.receive()
        elif number % 3 == 2:
            await edge.outcome()
        await edge.close()
        if every and number % every == 0:
            gc.collect()
            resident.append(resident_bytes())
    while server.queue_depth:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    assert server.connected == 0 and server.cached_bytes == 0 and len(asyncio.all_tasks()) == tasks
    server.close()
    return resident


def run(n: int, every: int = 0) -> list[int]:
    before = threading.active_count(), descriptors()
    resident = asyncio.run(cycles(n, every))
    # fewer, where what an earlier test had open is closed meanwhile
    assert threading.active_count() <= before[0] and descriptors() <= before[1]
    return resident


@pytest.mark.skipif(not STATM.exists(), reason="descriptors are counted in /proc")
def test_nothing_is_left() -> None:
    run(60)


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc/self/statm")
def test_memory_does_not_grow() -> None:
    """Less than 1 KiB a cycle over the last half of 2 000."""
    n = 2000
    run(200)
    resident = run(n, n // 20)
    assert alive(Outbox, StreamFrames, OrderedSession) == 0
    grown = resident[-1] - resident[len(resident) // 2]
    assert grown < 1024 * n // 2, f"{grown} bytes in {n // 2} cycles"


@pytest.mark.skipif(not STATM.exists(), reason="descriptors are counted in /proc")
def test_sessions_leave_nothing_either() -> None:
    with serving() as server:
        transport, others = InProcessTransport(server), tasks_of_links()
        held, links = [], list[weakref.ref[CloudLink]]()
        for number in range(12):
            stream = Stream(transport)
            stream.run(1 + number % 3)
            if number % 2:
                stream.wait_open()
                stream.run()
            links.append(weakref.ref(stream.session._link))  # type: ignore[arg-type]  # it is open
            stream.close()
            del stream
            if number in (3, 11):
                until(lambda: tasks_of_links() <= others and server.queue_depth == 0)
                held.append((threading.active_count(), descriptors()))
        gc.collect()
        assert held[0] == held[1] and not any(link() for link in links)
