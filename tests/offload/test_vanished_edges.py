"""Edges that vanish leave nothing: neither those whose connection breaks nor those that are only silent.

Symptom elsewhere: state is never evicted when a client vanishes; triton-inference-server/server 5453, 3492, 4629.
"""

from __future__ import annotations

import asyncio

import pytest

from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import fake_model, moving_frames, server_of
from tests.offload.streams import PLANNED

MODEL = fake_model()
N = 100


async def open_one(server: StreamServer, number: int, *, half: bool = False) -> ScriptedEdge:
    """An edge that runs one frame, or sends half of one."""
    edge = ScriptedEdge(server, Caller(identity=f"edge{number}"))
    welcome = await edge.open(hello_of(MODEL, PLANNED, stream=f"stream{number}"))
    messages = ScriptedFrames(MODEL, PLANNED).messages(next(moving_frames(1)), welcome.epoch)
    if half:
        edge.send(messages[0])
        await edge.receive()
    else:
        edge.send(*messages)
        await edge.outcome()
    return edge


@pytest.mark.parametrize("half", [False, True], ids=["after a frame", "in a frame"])
def test_connections_that_break(half: bool) -> None:
    async def run() -> None:
        server = server_of(MODEL)
        before = len(asyncio.all_tasks())
        for number in range(N):
            edge = await open_one(server, number, half=half)
            assert server.connected == 1 and (half or server.cached_bytes > 0)
            await edge.close()
            assert server.connected == 0 and server.cached_bytes == 0 and server.queue_depth == 0
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before
        server.close()

    asyncio.run(run())


def test_edges_that_are_only_silent() -> None:
    """Nothing says that they are gone: caches go with their lease, names and rooms with the stream's silence.

    What is left is the connection, which is the transport's.
    """

    async def run() -> None:
        server = server_of(MODEL, limits=ServerLimits(max_streams=N, lease_s=0.3, idle_s=1.0))
        silent = [await open_one(server, number) for number in range(N)]
        async with asyncio.timeout(20):
            while server.cached_bytes:
                await asyncio.sleep(0.01)
            while len(server._claims):
                await asyncio.sleep(0.01)
        # the name and the room of each are free for others
        for number in range(N):
            edge = ScriptedEdge(server, Caller(identity="another"))
            await edge.open(hello_of(MODEL, PLANNED, stream=f"stream{number}"))
            await edge.close()
        for edge in silent:
            await edge.close()
        assert server.connected == 0 and len(asyncio.all_tasks()) == 1
        server.close()

    asyncio.run(run())
