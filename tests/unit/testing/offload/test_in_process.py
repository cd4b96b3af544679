"""A transport without a network, and the faults that it can have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError, TransportError
from fluxshard.options import ReuseOptions
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.scripted_edge import hello_of
from fluxshard.testing.offload.two_places import fake_model, server_of

MODEL = fake_model()
HELLO = pb.Up(hello=hello_of(MODEL, ReuseOptions())).SerializeToString()


def on_a_server(use: Callable[[StreamServer], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        server = server_of(MODEL)
        try:
            await use(server)
            assert server.connected == 0 and len(asyncio.all_tasks()) == 1
        finally:
            server.close()

    asyncio.run(run())


async def hello_and_wait(*more: bytes) -> AsyncIterator[bytes]:
    for message in (HELLO, *more):
        yield message
    await asyncio.Event().wait()


async def first_of(stream: AsyncIterator[bytes]) -> str | None:
    async with asyncio.timeout(10):
        return read_down(await anext(stream)).WhichOneof("kind")


def test_carries_messages_both_ways() -> None:
    async def use(server: StreamServer) -> None:
        stream = InProcessTransport(server).exchange(hello_and_wait(b"\xff"))
        assert await first_of(stream) == "welcome"
        with pytest.raises(RefusedError, match="cannot be read"):
            await first_of(stream)

    on_a_server(use)


def test_closing_ends_the_stream() -> None:
    async def use(server: StreamServer) -> None:
        stream = InProcessTransport(server).exchange(hello_and_wait())
        assert await first_of(stream) == "welcome" and server.connected == 1
        await stream.aclose()  # type: ignore[attr-defined]  # of a generator

    on_a_server(use)


def test_a_link_that_is_down() -> None:
    async def use(server: StreamServer) -> None:
        with pytest.raises(TransportError, match="the link is down"):
            await first_of(InProcessTransport(server, faults=Faults(refuse=True)).exchange(hello_and_wait()))

    on_a_server(use)


def test_a_stream_that_is_lost() -> None:
    async def use(server: StreamServer) -> None:
        transport = InProcessTransport(server)
        stream = transport.exchange(hello_and_wait())
        await first_of(stream)
        transport.faults.lost = True
        with pytest.raises(TransportError, match="the link was lost"):
            await first_of(stream)

    on_a_server(use)


def test_a_link_that_is_half_open_and_heals() -> None:
    async def use(server: StreamServer) -> None:
        transport = InProcessTransport(server, faults=Faults(silent=True))
        stream = transport.exchange(hello_and_wait())
        waiting = asyncio.ensure_future(first_of(stream))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        transport.faults.silent = False
        assert await waiting == "welcome"
        await stream.aclose()  # type: ignore[attr-defined]  # of a generator

    on_a_server(use)


def test_time_on_the_way() -> None:
    async def use(server: StreamServer) -> None:
        began = time.monotonic()
        faults = Faults(delay_s=0.02, up_bytes_per_s=len(HELLO) / 0.02)
        stream = InProcessTransport(server, faults=faults).exchange(hello_and_wait())
        await first_of(stream)
        assert time.monotonic() - began >= 0.06
        await stream.aclose()  # type: ignore[attr-defined]  # of a generator

    on_a_server(use)


def test_messages_that_are_changed_or_lost() -> None:
    async def use(server: StreamServer) -> None:
        edits = {HELLO: HELLO, b"lost": None, b"changed": b"\xff"}
        stream = InProcessTransport(server, faults=Faults(edit=edits.get)).exchange(hello_and_wait(b"lost", b"changed"))
        assert await first_of(stream) == "welcome"
        with pytest.raises(RefusedError, match="cannot be read"):
            await first_of(stream)

    on_a_server(use)
