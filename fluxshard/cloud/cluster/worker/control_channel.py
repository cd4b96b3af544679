"""Orders to a worker over a socket that it inherits: one line each, answered in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from fluxshard.cloud.cluster.worker.messages import MAX_LINE_BYTES, Answer, Request, decode, encode
from fluxshard.errors import WireError


async def follow_orders(control: socket.socket, answer: Callable[[Request], Answer]) -> None:
    """Answers until the supervisor is gone.

    Args:
      control: connected to the supervisor; it is closed at the end.
      answer: to a request.

    Raises:
      WireError: an order cannot be read.
    """
    reader, writer = await asyncio.open_connection(sock=control, limit=MAX_LINE_BYTES)
    try:
        while line := await reader.readline():
            number, request = decode(line)
            writer.write(encode(number, answer(request)))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    except ValueError:  # of asyncio: longer than its limit
        raise WireError("an order is too long") from None
    finally:
        writer.close()
