"""A transport without a network: edge and server in one process, with the faults that a network has. Needs `cloud`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.errors import TransportError


@dataclass(slots=True)
class Faults:
    """What is wrong with a link; change it while the link is in use.

    Attributes:
      refuse: nothing can be opened.
      lost: streams that are open fail.
      silent: nothing arrives, either way, and nothing fails: a half-open link.
      up_bytes_per_s: rate of the uplink; 0 is without limit.
      delay_s: one way.
      edit: changes messages on their way up; what it returns is delivered, None is lost.
    """

    refuse: bool = False
    lost: bool = False
    silent: bool = False
    up_bytes_per_s: float = 0.0
    delay_s: float = 0.0
    edit: Callable[[bytes], bytes | None] | None = None


class InProcessTransport:
    """See `Transport`; edge and server share the event loop of whoever iterates, so the server is made in it.

    Args:
      server: serves the streams.
      caller: that the server sees.
      faults: of the link.
    """

    def __init__(self, server: StreamServer, caller: Caller | None = None, faults: Faults | None = None) -> None:
        self._server, self._caller = server, caller or Caller(address="in process")
        self.faults = faults or Faults()

    async def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """See `Transport.exchange`."""
        if self.faults.refuse:
            raise TransportError("the link is down")
        down = self._server.exchange(self._caller, self._carry(up))
        try:
            while True:
                taken = asyncio.ensure_future(anext(down))
                try:
                    while not taken.done():
                        await asyncio.wait((taken,), timeout=0.005)
                        self._check()
                    message = taken.result()
                except StopAsyncIteration:
                    return
                finally:
                    taken.cancel()
                    await asyncio.gather(taken, return_exceptions=True)  # a generator that runs cannot be closed
                await self._pass()
                yield message
        finally:
            await down.aclose()  # type: ignore[attr-defined]  # of a generator

    async def _carry(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for message in up:
            await self._pass()
            if self.faults.up_bytes_per_s:
                await asyncio.sleep(len(message) / self.faults.up_bytes_per_s)
            arrived = self.faults.edit(message) if self.faults.edit else message
            if arrived is not None:
                yield arrived

    async def _pass(self) -> None:
        if self.faults.delay_s:
            await asyncio.sleep(self.faults.delay_s)
        while self.faults.silent:
            self._check()
            await asyncio.sleep(0.002)

    def _check(self) -> None:
        if self.faults.lost:
            raise TransportError("the link was lost")
