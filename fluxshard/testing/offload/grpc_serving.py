"""A gRPC server in a thread of the test's process. Needs `cloud`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_server import GrpcServer, Streams
from fluxshard.cloud.server.stream_server import StreamServer

T = TypeVar("T")
WAIT_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A server that runs.

    Attributes:
      address: HOST:PORT.
      streams: that it serves.
      server: brings them.
      loop: of its thread.
    """

    address: str
    streams: Any
    server: GrpcServer
    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the server's event loop, and waits for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def ask(self, question: Callable[[], T]) -> T:
        """Calls a function in the server's event loop."""

        async def answer() -> T:
            return question()

        return self.do(answer())


@contextmanager
def serving(
    streams: Callable[[], Streams], access: ServerAccess, address: str = "127.0.0.1:0", **options: Any
) -> Iterator[Served]:
    """Serves in a thread until the context ends.

    Args:
      streams: makes what is served, in the thread's event loop; a `StreamServer` is closed at the end.
      access: who may open streams.
      address: to listen on.
      **options: of `GrpcServer`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-server")
    thread.start()
    made: Any = None

    async def begin() -> Served:
        nonlocal made
        made = streams()
        server = GrpcServer(made, access, **options)
        return Served(await server.start(address), made, server, loop)

    served: Served | None = None
    try:
        served = asyncio.run_coroutine_threadsafe(begin(), loop).result(WAIT_S)
        yield served
    finally:
        if served is not None:
            served.do(served.server.close())
        if isinstance(made, StreamServer):
            made.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
