"""Messages to one edge, until the stream ends or fails."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from fluxshard.cloud.wire.proto import offload_pb2 as pb

MOST_WAITING = 64  # beyond which nothing more is read of an edge that does not read itself


class Outbox:
    """A queue of messages; iterate over it once. For one event loop.

    Args:
      on_over: called once, when the stream ends or fails. The edge may read nothing any more, so nothing that the
        stream holds can wait until it does.
    """

    def __init__(self, on_over: Callable[[], None] = lambda: None) -> None:
        self._on_over = on_over
        self._queue: deque[bytes | Exception | None] = deque()
        self._more, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._last_is_progress = self._over = False

    def send(self, message: pb.Down) -> None:
        """Hands a message to the network; nothing happens where the stream is over.

        Progress that still waits when there is newer is not sent: where many messages arrive, telling of each would
        take longer than they do.
        """
        if self._over:
            return
        progress = message.WhichOneof("kind") == "progress"
        if progress and self._last_is_progress and self._queue:
            self._queue.pop()
        self._last_is_progress = progress
        self._put(message.SerializeToString())

    def close(self) -> None:
        """Ends the stream after what was sent."""
        self._end(None)

    def fail(self, error: Exception) -> None:
        """Ends the stream with an error, after what was sent."""
        self._end(error)

    async def room(self) -> None:
        """Waits until so much of what was sent has left that there is room for more."""
        await self._room.wait()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yields messages; raises what the stream failed with."""
        while True:
            while not self._queue:
                self._more.clear()
                await self._more.wait()
            item = self._queue.popleft()
            if len(self._queue) < MOST_WAITING:
                self._room.set()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def _put(self, item: bytes | Exception | None) -> None:
        self._queue.append(item)
        self._more.set()
        if len(self._queue) >= MOST_WAITING:
            self._room.clear()

    def _end(self, item: Exception | None) -> None:
        if not self._over:
            self._over = True
            self._put(item)
            self._on_over()
