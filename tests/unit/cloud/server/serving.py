"""A server for one test, and what edges do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.cloud.server.metrics import FrameEnd, SilentObserver
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError
from fluxshard.options import ReuseOptions
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, ScriptedFrames
from fluxshard.testing.offload.two_places import fake_model, moving_frames, server_of

REUSE = ReuseOptions(policy="planned", scene_cut=1.0)
MODEL = fake_model()


class Seen(SilentObserver):
    """An observer that remembers."""

    def __init__(self) -> None:
        self.ends: list[FrameEnd] = []
        self.errors: list[Exception] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def frame(self, end: FrameEnd, result: pb.Result | None = None) -> None:
        self.ends.append(end)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def event(self, name: str, **facts: Any) -> None:
        self.events.append((name, facts))


def serve(use: Callable[[StreamServer], Awaitable[None]], *models: Any, observer: Any = None, **limits: Any) -> None:
    """Runs a test on a server, and sees that nothing is left when all streams are gone."""

    async def run() -> None:
        server = server_of(*(models or (MODEL,)), limits=ServerLimits(**limits), observer=observer)
        try:
            await use(server)
            await nothing_left(server)
        finally:
            server.close()

    asyncio.run(run())


async def nothing_left(server: StreamServer) -> None:
    async with asyncio.timeout(10):
        while server.connected or server.queue_depth or len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)
    assert server.cached_bytes == 0


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


async def refused(edge: ScriptedEdge, hello: pb.Hello) -> RefusedError:
    with pytest.raises(RefusedError) as error:
        await edge.open(hello)
    return error.value


async def ended(edge: ScriptedEdge) -> RefusedError:
    """The error that the stream fails with; what comes before is thrown away."""
    with pytest.raises(RefusedError) as error:
        while True:
            await edge.receive()
    return error.value


async def run_frames(edge: ScriptedEdge, epoch: int, n: int = 1) -> ScriptedFrames:
    """Runs the first frames of a video, and returns what makes the next ones."""
    frames = ScriptedFrames(MODEL, REUSE)
    for frame in moving_frames(n):
        edge.send(*frames.messages(frame, epoch))
        message, _ = await edge.outcome()
        assert message.WhichOneof("kind") == "result"
    return frames
