"""A gRPC server in the test's process, in the event loop of its links: gRPC wants one in a process. Needs `cloud`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fluxshard.cloud.edge.connection.loop_thread import LINKS
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_server import GrpcServer, Streams
from fluxshard.cloud.server.stream_server import StreamServer

T = TypeVar("T")
WAIT_S = 60.0


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in the links' event loop, and waits for its result; not from that loop."""
    return LINKS.run(work).result(WAIT_S)


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A server that runs.

    Attributes:
      address: HOST:PORT.
      streams: that it serves; for the links' event loop.
      server: brings them; the same.
    """

    address: str
    streams: Any
    server: GrpcServer

    def ask(self, question: Callable[[], T]) -> T:
        """Calls a function in the server's event loop; not from that loop."""

        async def answer() -> T:
            return question()

        return run(answer())


@contextmanager
def serving(
    streams: Callable[[], Streams], access: ServerAccess, address: str = "127.0.0.1:0", **options: Any
) -> Iterator[Served]:
    """Serves until the context ends.

    Args:
      streams: makes what is served, in the event loop; a `StreamServer` is closed at the end.
      access: who may open streams.
      address: to listen on.
      **options: of `GrpcServer`.
    """
    made: list[Streams] = []

    async def begin() -> Served:
        made.append(streams())
        server = GrpcServer(made[0], access, **options)
        try:
            return Served(await server.start(address), made[0], server)
        except BaseException:
            await server.close()
            raise

    try:
        served = run(begin())
        try:
            yield served
        finally:
            run(served.server.close())
    finally:
        for one in made:
            if isinstance(one, StreamServer):
                one.close()


async def settled(tasks: int, seconds: float = 10.0) -> int:
    """Tasks of the running event loop, once there are no more than so many, or after some time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while len(asyncio.all_tasks()) > tasks and loop.time() < until:
        await asyncio.sleep(0.01)
    return len(asyncio.all_tasks())
