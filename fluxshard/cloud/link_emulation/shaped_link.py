"""A link emulated in this process, where packets cannot be carried: connections go through a proxy that holds back.

Rate, delay and a bounded queue are those of the options. What TCP does about them is not: a sender's kernel talks to
the proxy, so there is no slow start over the round trip, and what the queue has no room for waits instead of being
dropped. Times of large payloads are too good; tables call it a shaper.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from fluxshard.cloud.link_emulation.bottleneck import Bottleneck
from fluxshard.cloud.link_emulation.emulated_link import Kind, LinkStats
from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.errors import OptionError, StateError, TransportError

_PIECE = 16 << 10
_HOST = "127.0.0.1"
_CALL_S = 10.0

T = TypeVar("T")


class ShapedLink:
    """See `EmulatedLink`; both ends are this machine's loopback.

    Args:
      options: of the link.

    Raises:
      OptionError: it shall lose packets, or has a kernel's setting: there are no packets.
    """

    kind: Kind = "shaper"
    listen_host = _HOST

    def __init__(self, options: LinkOptions) -> None:
        wanted = {
            "loss": options.loss,
            "congestion_control": options.congestion_control,
            "initcwnd": options.initcwnd,
            "slow_start_after_idle": options.slow_start_after_idle,
        }
        set_ones = [name for name, value in wanted.items() if value]
        if set_ones:
            raise OptionError(f"a shaper has no packets, so {', '.join(set_ones)} cannot be had: use a PacketLink")
        self.options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shaped-link", daemon=True)
        self._ports: dict[int, int] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._up, self._down = [0, 0], [0, 0]  # pieces, bytes
        self._start_s = 0.0
        self._bottleneck = Bottleneck(options.rates)
        self._left = False

    def __enter__(self) -> Self:
        if self._thread.is_alive() or self._left:
            raise StateError("a link is entered once; make another one")
        self._start_s = self._loop.time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._left = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def server_command(self, command: Sequence[str]) -> list[str]:
        """See `EmulatedLink`."""
        return list(command)

    def edge_command(self, command: Sequence[str], edge: int = 0) -> list[str]:
        """See `EmulatedLink`."""
        return list(command)

    def address(self, port: int, edge: int = 0) -> tuple[str, int]:
        """See `EmulatedLink`.

        Raises:
          StateError: the link is not up.
          TransportError: no port is free.
        """
        if not self._thread.is_alive():
            raise StateError("the link is not up: enter it first")
        if port not in self._ports:
            self._ports[port] = self._call(self._listen(port))
        return _HOST, self._ports[port]

    def stats(self) -> LinkStats:
        """See `EmulatedLink`.

        Raises:
          StateError: the link is still up.
        """
        if not self._left:
            raise StateError("what a link has carried is known once it is left")
        return LinkStats(
            up_packets=self._up[0],
            up_bytes=self._up[1],
            down_packets=self._down[0],
            down_bytes=self._down[1],
            dropped=0,
            lost=0,
        )

    def _call(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    async def _listen(self, port: int) -> int:
        try:
            server = await asyncio.start_server(lambda *ends: self._serve(port, *ends), _HOST, 0)
        except OSError as error:
            raise TransportError(f"the link cannot listen on {_HOST}: {error}") from error
        self._servers.append(server)
        number: int = server.sockets[0].getsockname()[1]
        return number

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await asyncio.sleep((self.options.delay_up_ms + self.options.delay_down_ms) / 1e3)  # the handshake's
            far_reader, far_writer = await asyncio.open_connection(_HOST, port)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            self._tasks.discard(task)
            return
        try:
            await asyncio.gather(self._carry(reader, far_writer, up=True), self._carry(far_reader, writer, up=False))
        except (OSError, asyncio.CancelledError):
            pass  # a connection that breaks at one end breaks at the other
        finally:
            for end in (writer, far_writer):
                end.transport.abort()
            self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, up: bool) -> None:
        """Reads pieces as long as the queue has room; each is written when it has gone through."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.ensure_future(self._write(waiting, target, self._up if up else self._down))
        delay_s = (self.options.delay_up_ms if up else self.options.delay_down_ms) / 1e3
        try:
            while True:
                piece = await source.read(_PIECE)
                now = self._loop.time()
                if not up or not piece:
                    waiting.put_nowait((now + delay_s, piece))
                else:
                    through = self._bottleneck.send(now - self._start_s, len(piece)) + self._start_s
                    waiting.put_nowait((through + delay_s, piece))
                    await self._until_there_is_room()
                if not piece:
                    break
            await writing
        finally:
            writing.cancel()

    async def _until_there_is_room(self) -> None:
        while True:
            now = self._loop.time() - self._start_s
            if self._bottleneck.queued(now) <= self.options.queue:
                return
            await asyncio.sleep(0.002)

    async def _write(
        self, waiting: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter, counts: list[int]
    ) -> None:
        while True:
            due, piece = await waiting.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if not piece:
                with suppress(OSError):
                    target.write_eof()
                return
            target.write(piece)
            await target.drain()
            counts[0] += 1
            counts[1] += len(piece)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
