"""Streams that are opened and given up again and again leave nothing behind, on either end."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from contextlib import aclosing
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.testing.offload.grpc_serving import Served, run, serving
from fluxshard.testing.offload.two_places import server_of, small_model
from tests.unit.cloud.network.talk import edge_files, hello, messages, server_files, until

CYCLES = 300


def resident_kib() -> int:
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE") // 1024


def held(served: Served) -> tuple[int, int, int]:
    """Descriptors, threads and tasks of this process, which is both ends."""
    until(served, lambda: served.streams.connected == 0)
    gc.collect()
    tasks = served.ask(lambda: len(asyncio.all_tasks()))
    return len(os.listdir("/proc/self/fd")), threading.active_count(), tasks


async def one(transport: GrpcTransport, model: LocalModel, index: int) -> None:
    """Opens a stream and gives it up: cancelled, closed, or ended, in turns."""
    greeting = pb.Up(hello=hello(model)).SerializeToString()
    stay = asyncio.Event()
    down = transport.exchange(messages(greeting, then=stay))
    async with aclosing(down):  # type: ignore[type-var]  # a generator
        assert read_down(await anext(down)).WhichOneof("kind") == "welcome"
        if index % 3 == 0:
            waiting = asyncio.ensure_future(anext(down))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        elif index % 3 == 1:
            stay.set()
            with pytest.raises(StopAsyncIteration):
                await anext(down)


@pytest.mark.slow
def test_reconnecting_is_free(site: Path) -> None:
    model = small_model()

    async def cycles(transport: GrpcTransport, count: int) -> None:
        for index in range(count):
            await one(transport, model, index)

    with serving(lambda: server_of(model), ServerAccess(tls=server_files(site))) as served:
        transport = GrpcTransport(served.address, tls=edge_files(site))
        run(cycles(transport, 30))
        before, memory = held(served), resident_kib()
        run(cycles(transport, CYCLES))
        after, grown = held(served), resident_kib() - memory
    print(f"descriptors, threads, tasks: {before} -> {after}; {grown / CYCLES:.1f} KiB a cycle")
    assert after[0] <= before[0] + 8 and after[1] <= before[1] + 2 and after[2] <= before[2]
    assert grown < 16 << 10
