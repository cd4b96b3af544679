"""The status that a server ended a call with, which gRPC may hide behind one of its own making."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

T = TypeVar("T")

_MADE_UP = (grpc.StatusCode.INTERNAL, "Internal error from Core")
_LOOK_S, _MOST_LOOKS = 0.01, 50


class FinalStatus:
    """Watches a call from its start.

    A server may end a call while the client still sends. gRPC's Python layer then takes the message that could not be
    sent for the reason, and its own status replaces that of the server, or the other way round, as it happens.

    Args:
      call: a stream that has just been made.
    """

    def __init__(self, call: Any) -> None:
        self._call, self._found = call, list[grpc.aio.AioRpcError]()
        call.add_done_callback(self._note)

    async def of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The server's status, if it has sent one.

        Args:
          error: that the call has raised.
        """
        for _ in range(_MOST_LOOKS):
            for found in (*self._found, error):
                if (found.code(), found.details()) != _MADE_UP:
                    return found
            await asyncio.sleep(_LOOK_S)
            self._note(self._call)
        return error

    def _note(self, call: Any) -> None:
        self._found.append(
            grpc.aio.AioRpcError(
                _now(call.code()),
                grpc.aio.Metadata(),
                _now(call.trailing_metadata()),
                details=_now(call.details()),
            )
        )


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("the call has no status yet")
