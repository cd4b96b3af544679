"""Streams that pause are packed away, while nobody runs or frees them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.cloud.server.running.ordered_runner import OrderedRunner
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.errors import OptionError
from fluxshard.testing.offload.scripted_edge import ScriptedEdge, hello_of
from fluxshard.testing.offload.two_places import moving_frames
from tests.unit.cloud.server.serving import MODEL, REUSE, Seen, run_frames, serve, until

PACKED = 100  # bytes


class Packing:
    """Takes the place of `OrderedRunner.park`: packs when it is told to, and says how often it was called."""

    def __init__(self) -> None:
        self.calls, self.go, self.ran = 0, threading.Event(), threading.Event()
        self.error: Exception | None = None

    def __call__(self) -> int | None:
        self.calls += 1
        assert self.go.wait(20)
        self.ran.set()
        if self.error is not None:
            raise self.error
        return PACKED


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Packing:
    packing = Packing()
    monkeypatch.setattr(OrderedRunner, "park", lambda runner: packing())
    return packing


def test_a_pause_packs_the_stream_and_a_frame_takes_its_memory_back(packing: Packing) -> None:
    packing.go.set()

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        frames = await run_frames(edge, welcome.epoch, 2)
        whole = server.cached_bytes
        assert whole > PACKED
        await until(lambda: server.cached_bytes == PACKED)
        edge.send(*frames.messages(list(moving_frames(3))[2], welcome.epoch))
        message, _ = await edge.outcome()
        assert not message.result.keyframe and server.cached_bytes == whole
        await until(lambda: server.cached_bytes == PACKED)
        assert packing.calls == 2
        await edge.close()

    serve(use, park_s=0.05)


def test_a_frame_waits_until_its_stream_is_packed(packing: Packing) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        frames = await run_frames(edge, welcome.epoch)
        whole = server.cached_bytes
        await until(lambda: packing.calls == 1)
        edge.send(*frames.messages(list(moving_frames(2))[1], welcome.epoch))
        outcome = asyncio.create_task(edge.outcome())
        await asyncio.sleep(0.2)
        assert not outcome.done() and server.queue_depth == 0
        packing.go.set()
        message, _ = await outcome
        assert message.result.seq == 2 and not message.result.keyframe and server.cached_bytes == whole
        await edge.close()

    serve(use, park_s=0.05)


def test_a_stream_that_ends_while_it_is_packed_leaves_nothing(packing: Packing) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        await run_frames(edge, welcome.epoch)
        await until(lambda: packing.calls == 1)
        await edge.close()
        await until(lambda: server.connected == 0)
        assert server.cached_bytes == 0
        packing.go.set()

    serve(use, park_s=0.05)


def test_a_lease_that_ends_while_a_stream_is_packed_frees_it(packing: Packing) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        frames = await run_frames(edge, welcome.epoch)
        await until(lambda: packing.calls == 1 and server.cached_bytes == 0)
        packing.go.set()
        assert await asyncio.to_thread(packing.ran.wait, 20)
        edge.send(*frames.messages(list(moving_frames(2))[1], welcome.epoch))
        message, _ = await edge.outcome()
        assert message.need_key.reason == "nothing is cached" and server.cached_bytes == 0
        await edge.close()

    serve(use, park_s=0.05, lease_s=0.15)


def test_what_fails_is_told_and_the_stream_goes_on(packing: Packing) -> None:
    packing.error = MemoryError("none left")
    packing.go.set()
    seen = Seen()

    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        frames = await run_frames(edge, welcome.epoch)
        whole = server.cached_bytes
        await until(lambda: bool(seen.errors))
        assert seen.errors == [packing.error] and server.cached_bytes == whole
        edge.send(*frames.messages(list(moving_frames(2))[1], welcome.epoch))
        message, _ = await edge.outcome()
        assert not message.result.keyframe
        await edge.close()

    serve(use, observer=seen, park_s=0.05)


def test_zero_never_packs(packing: Packing) -> None:
    async def use(server: StreamServer) -> None:
        edge = ScriptedEdge(server)
        welcome = await edge.open(hello_of(MODEL, REUSE))
        await run_frames(edge, welcome.epoch)
        await until(lambda: server.cached_bytes == 0)  # the lease is over
        assert packing.calls == 0
        await edge.close()

    serve(use, park_s=0, lease_s=0.3)
    with pytest.raises(OptionError, match="park_s"):
        ServerLimits(park_s=-1)
