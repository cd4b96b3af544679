"""A transport that goes where a front sends it; a server without a front serves it at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from fluxshard.cloud.wire.messages import read_down, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import TransportError
from fluxshard.runtime.offload.transport import Transport


class FollowingTransport:
    """See `Transport`. The front is asked for every stream that is opened: what it said before may be long over.

    Args:
      first: to the front, or to a server.
      follow: a transport to a server, from its address and the name in its certificate (empty: that of its host).
    """

    def __init__(self, first: Transport, follow: Callable[[str, str], Transport]) -> None:
        self._first, self._follow = first, follow

    async def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """See `Transport.exchange`.

        Raises:
          TransportError: also where a front sends to a front.
        """
        try:
            hello = await anext(up, None)
            if hello is None:
                return
            is_served = asyncio.Event()
            async with aclosing(self._first.exchange(_once_served(hello, up, is_served))) as down:  # type: ignore[type-var]
                first = await anext(down, None)
                if first is None:
                    return
                message = read_down(first)
                if message.WhichOneof("kind") != "placed":
                    is_served.set()
                    yield first
                async for data in down:  # a front says nothing more
                    yield data
            if not is_served.is_set():
                async with aclosing(self._served(message.placed, hello, up)) as down:
                    async for data in down:
                        yield data
        finally:
            if isinstance(up, AsyncGenerator):
                await up.aclose()

    async def _served(self, placed: pb.Placed, hello: bytes, up: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        greeting = read_up(hello)
        greeting.hello.epoch = placed.epoch
        transport = self._follow(placed.address, placed.server_name)
        async with aclosing(transport.exchange(_after(greeting.SerializeToString(), up))) as down:  # type: ignore[type-var]
            is_first = True
            async for data in down:
                if is_first and read_down(data).WhichOneof("kind") == "placed":
                    raise TransportError("a front has sent this edge to another front")
                is_first = False
                yield data


async def _once_served(hello: bytes, up: AsyncIterator[bytes], is_served: asyncio.Event) -> AsyncIterator[bytes]:
    """The greeting and, if the server turns out to take the stream itself, all that follows."""
    yield hello
    await is_served.wait()
    async for message in up:
        yield message


async def _after(hello: bytes, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield hello
    async for message in up:
        yield message
