"""Messages to one edge, until the stream ends or fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fluxshard.cloud.wire.proto import offload_pb2 as pb

MOST_UNREAD_BYTES = 1 << 20
_OVERHEAD_BYTES = 128  # of a message that waits


class Outbox:
    """A queue of messages; iterate over it once. For one event loop.

    Args:
      on_over: called once, when the stream ends or fails. The edge may read nothing any more, so nothing that the
        stream holds can wait until it does.
    """

    def __init__(self, on_over: Callable[[], None] = lambda: None) -> None:
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._on_over = on_over
        self._waiting_bytes = 0
        self._over = False

    @property
    def is_full(self) -> bool:
        """The edge has not read what it was sent."""
        return self._waiting_bytes > MOST_UNREAD_BYTES

    def send(self, message: pb.Down) -> None:
        """Hands a message to the network; nothing happens where the stream is over.

        Progress is left out where too much waits: what comes after it says more.
        """
        if self._over or (self.is_full and message.WhichOneof("kind") == "progress"):
            return
        data = message.SerializeToString()
        self._waiting_bytes += len(data) + _OVERHEAD_BYTES
        self._queue.put_nowait(data)

    def close(self) -> None:
        """Ends the stream after what was sent."""
        self._end(None)

    def fail(self, error: Exception) -> None:
        """Ends the stream with an error, after what was sent."""
        self._end(error)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yields messages; raises what the stream failed with."""
        while True:
            item = await self._queue.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            self._waiting_bytes -= len(item) + _OVERHEAD_BYTES
            yield item

    def _end(self, item: Exception | None) -> None:
        if not self._over:
            self._over = True
            self._queue.put_nowait(item)
            self._on_over()
