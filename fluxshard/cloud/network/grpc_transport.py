"""A stream to a server over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

import grpc

from fluxshard.cloud.network.final_status import FinalStatus
from fluxshard.cloud.network.settings import METHOD, Keepalive, client_options
from fluxshard.cloud.network.statuses import error_of, wants_fewer_pings
from fluxshard.cloud.security.access import checked_address
from fluxshard.cloud.security.tls import ClientTls, channel_credentials, channel_options
from fluxshard.errors import OptionError, TransportError

_SETTLE_S = 0.05
_RARE_S = 600.0  # servers that set nothing allow a ping every 300 s


class GrpcTransport:
    """See `Transport`. Each stream has a connection of its own; several may be open, in any event loops.

    Args:
      address: HOST:PORT of the server.
      tls: the server's authority, and the edge's own certificate; None for plaintext.
      token: that says who the edge is, where it has no certificate.
      insecure: plaintext, to this machine only.
      keepalive: pings that find a dead link while nothing is sent.

    Raises:
      OptionError: no address, or options that do not go together.
      SecurityError: a file that cannot be used, or plaintext to another machine.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: ClientTls | None = None,
        token: str | None = None,
        insecure: bool = False,
        keepalive: Keepalive | None = None,
    ) -> None:
        self._name, self._target = address, checked_address(address, tls=tls is not None, insecure=insecure)
        if token is not None and tls is None:
            raise OptionError("a token is sent over TLS only: give the authority of the server's certificate")
        if token is not None and not (token.isascii() and token.isprintable() and token):
            raise OptionError("the token is damaged: give the one line that `fluxshard token` printed")
        self._credentials = None if tls is None else channel_credentials(tls)
        self._options = channel_options(tls)
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self._keepalive = keepalive or Keepalive()

    async def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """See `Transport.exchange`."""
        channel, opened = self._channel(), False
        call = channel.stream_stream(METHOD)(metadata=self._metadata)
        status, writer = FinalStatus(call), None
        try:
            writer = asyncio.create_task(_write(call, up))
            while (message := await call.read()) is not grpc.aio.EOF:
                opened = True
                yield message
        except grpc.aio.AioRpcError as raised:
            error = await status.of(raised)
            if wants_fewer_pings(error):
                self._keepalive = replace(self._keepalive, every_s=max(_RARE_S, self._keepalive.every_s))
            raise error_of(error, self._name, opened=opened) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # nobody has cancelled this task: gRPC reports a cancelled call like that
            raise _failure(writer) or TransportError(f"{self._name} has cancelled the stream") from None
        finally:
            await _end(call, writer)
            await channel.close()

    def _channel(self) -> Any:
        options = [*client_options(self._keepalive), *self._options]
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, options)
        return grpc.aio.secure_channel(self._target, self._credentials, options)


async def _write(call: Any, up: AsyncIterator[bytes]) -> None:
    """Sends messages until they end; why a call has failed is told to whoever reads."""
    try:
        async for message in up:
            try:
                await call.write(message)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return
    except Exception:  # of whoever makes the messages
        call.cancel()
        raise
    finally:
        if isinstance(up, AsyncGenerator):
            await up.aclose()


def _failure(writer: asyncio.Task[None] | None) -> BaseException | None:
    done = writer is not None and writer.done() and not writer.cancelled()
    return writer.exception() if writer is not None and done else None


async def _end(call: Any, writer: asyncio.Task[None] | None) -> None:
    """Ends what a stream has started; a task that is left would keep its call, and all that hangs on it."""
    if writer is not None:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
    if call.cancel():
        # C-core has yet to report that, and nothing says when it has. Event loops of one process share its reports: one
        # for a loop that was closed meanwhile is an error in another loop.
        await asyncio.sleep(_SETTLE_S)
