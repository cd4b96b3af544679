"""The supervisor's end of a worker's control socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from fluxshard.cloud.cluster.worker.messages import MAX_LINE_BYTES, Answer, Request, decode, encode
from fluxshard.errors import TransportError, WireError


class OrderChannel:
    """Sends orders and hands out their answers. For one event loop; `close` it there.

    Args:
      control: connected to the worker.
      name: of the worker, for errors.
    """

    def __init__(self, control: socket.socket, name: str) -> None:
        self._control, self._name = control, name
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self.ended = asyncio.Event()
        """Set when the worker says nothing more."""
        self._life = asyncio.create_task(self._read())
        self._opened = asyncio.Event()

    async def ask(self, request: Request) -> Answer:
        """See `Worker.ask`, but that the process may still run."""
        await self._opened.wait()
        if self._writer is None or self.ended.is_set():
            raise self._lost()
        self._number += 1
        number = self._number
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._writer.write(encode(number, request))
            return await future
        except ConnectionError:
            raise self._lost() from None
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Whoever waits for an answer is told that there will be none."""
        self._life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._life

    async def _read(self) -> None:
        try:
            reader, self._writer = await asyncio.open_connection(sock=self._control, limit=MAX_LINE_BYTES)
            self._opened.set()
            while line := await reader.readline():
                self._take(*decode(line))
        except (OSError, ValueError, WireError, asyncio.IncompleteReadError):
            return  # a worker that cannot be understood is no better than one that has ended
        finally:
            self.ended.set()
            self._opened.set()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._lost())
            if self._writer is not None:
                self._writer.close()

    def _take(self, number: int, answer: Any) -> None:
        future = self._waiting.get(number)
        if future is not None and not future.done():  # nobody waits any more for what has timed out
            future.set_result(answer)

    def _lost(self) -> TransportError:
        return TransportError(f"worker {self._name} has ended")
