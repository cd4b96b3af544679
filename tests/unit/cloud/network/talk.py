"""Streams of known messages, and a client that greets as an edge does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.security.tls import ClientTls, ServerTls
from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.wire.messages import PROTOCOL, read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.options import ReuseOptions
from fluxshard.testing.offload.grpc_serving import Served

OPEN = ServerAccess(insecure=True)


class Echo:
    """Sends every message back; a message that names an error raises it."""

    def __init__(self, errors: dict[bytes, Exception] | None = None) -> None:
        self.connected, self.callers = 0, []
        self._errors = errors or {}

    def drain(self, deadline_s: float, moved_to: str = "") -> None:
        pass

    async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.callers.append(caller)
        self.connected += 1
        try:
            async for message in up:
                if message in self._errors:
                    raise self._errors[message]
                yield message
        finally:
            self.connected -= 1


def server_files(site: Path, *, mutual: bool = True) -> ServerTls:
    return ServerTls(
        certificate=site / "server.pem", key=site / "server.key", client_authority=site / "ca.pem" if mutual else None
    )


def edge_files(site: Path, *, mutual: bool = True) -> ClientTls:
    return ClientTls(
        authority=site / "ca.pem",
        certificate=site / "edge.pem" if mutual else None,
        key=site / "edge.key" if mutual else None,
        server_name=None,
    )


def hello(model: LocalModel, stream: str = "test", **changes: object) -> pb.Hello:
    """What an edge with a model says first."""
    compute = model.compute
    greeting = pb.Hello(
        protocol=PROTOCOL,
        stream=stream,
        plan=model.program.engine.plan.digest(),
        weights=model.weights,
        reuse=encode_reuse(ReuseOptions(policy="planned")),
        payload="raw",
        answer="outputs",
        dtype=compute.dtype,
        backend=compute.backend,
        isa=compute.isa,
        version=compute.version,
    )
    for name, value in changes.items():
        setattr(greeting, name, value)
    return greeting


async def messages(*given: bytes, then: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """These messages; then waits, where there is something to wait for."""
    for message in given:
        yield message
    if then is not None:
        await then.wait()


async def welcome(transport: GrpcTransport, greeting: pb.Hello) -> pb.Welcome:
    """Opens a stream, and ends it."""
    up = messages(pb.Up(hello=greeting).SerializeToString(), then=asyncio.Event())
    async with aclosing(transport.exchange(up)) as down:  # type: ignore[type-var]  # a generator
        return read_down(await anext(down)).welcome


async def replies(transport: GrpcTransport, *given: bytes) -> list[bytes]:
    """All that comes back for these messages."""
    return [message async for message in transport.exchange(messages(*given))]


def until(served: Served, question: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until something is true in a server's event loop."""
    end = time.monotonic() + seconds
    while not served.ask(question):
        assert time.monotonic() < end
        time.sleep(0.01)
