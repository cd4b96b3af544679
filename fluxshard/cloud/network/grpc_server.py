"""Streams of a server over gRPC: who calls, what becomes of refusals, and how the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import grpc

from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.health import Health
from fluxshard.cloud.network.ports import cannot_listen
from fluxshard.cloud.network.settings import SERVICE, STREAM, Keepalive, server_options
from fluxshard.cloud.network.statuses import code_of, trailing_metadata
from fluxshard.cloud.security.access import checked_address, split_address
from fluxshard.cloud.security.tls import server_credentials
from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.server.metrics import Observer, SilentObserver
from fluxshard.errors import RefusedError, SecurityError

_STALL_S = 30.0  # within which a message has to leave: an edge that does not read holds what waits for it
_STATUS_S = 5.0  # within which the status of a call has to leave; then its connection is cut
_CHECK_S, _LAST_S = 0.02, 1.0  # the last words of streams that were ended have to leave


class Streams(Protocol):
    """What serves streams; see `StreamServer`."""

    @property
    def connected(self) -> int:
        """Streams that are open."""
        ...

    def drain(self, deadline_s: float, moved_to: str = "") -> None:
        """Takes no new streams, and tells those that are open to go."""
        ...

    def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """One stream, from greeting to end."""
        ...


class GrpcServer:
    """Brings streams over gRPC. For one event loop, where it is made; `close` it there.

    Args:
      streams: serves them.
      access: who may open them.
      observer: is told what happens.
      models: names of what is served, for health checks.
      keepalive: pings that find callers that are gone.

    Raises:
      SecurityError: a certificate or key that cannot be used.
    """

    def __init__(
        self,
        streams: Streams,
        access: ServerAccess,
        *,
        observer: Observer | None = None,
        models: Sequence[str] = (),
        keepalive: Keepalive | None = None,
    ) -> None:
        self._streams, self._access, self._observer = streams, access, observer or SilentObserver()
        self._credentials = None if access.tls is None else server_credentials(access.tls)
        self._health = Health(models, has_tls=access.tls is not None)
        self._calls: set[asyncio.Task[Any]] = set()
        # gRPC's own limit of calls makes them wait instead of refusing them: streams are counted by `StreamServer`
        self._server = grpc.aio.server(options=server_options(keepalive or Keepalive(every_s=20.0, patience_s=10.0)))
        handler = grpc.stream_stream_rpc_method_handler(self._call)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {STREAM: handler}),))
        self._health.add_to(self._server)

    async def start(self, address: str) -> str:
        """Listens, and takes streams from then on.

        Args:
          address: HOST:PORT; port 0 takes one that is free.

        Returns:
          the address with the port that was taken.

        Raises:
          OptionError: no address.
          SecurityError: plaintext that would leave this machine.
          TransportError: the port cannot be taken.
        """
        target = checked_address(address, tls=self._access.tls is not None, insecure=self._access.insecure)
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(target)
            else:
                port = self._server.add_secure_port(target, self._credentials)
        except RuntimeError:
            port = 0
        if not port:
            raise cannot_listen(address)
        await self._server.start()
        await self._health.begin()
        host, _ = split_address(address)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def drain(self, deadline_s: float, moved_to: str = "") -> None:
        """Takes no new streams; waits until those that are open have gone.

        Args:
          deadline_s: after which they are ended.
          moved_to: HOST:PORT of the server that takes them; empty for none.
        """
        self._streams.drain(deadline_s, moved_to)
        await self._health.end()
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s + _LAST_S
        while self._streams.connected and loop.time() < until:
            await asyncio.sleep(_CHECK_S)

    async def close(self) -> None:
        """Ends streams that are open, and stops listening."""
        await self._server.stop(None)
        if self._calls:
            await asyncio.wait(self._calls)

    async def _call(self, _: Any, context: Any) -> None:
        """One call. It is no generator: gRPC leaves those of calls that are cancelled to the garbage collector."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            await self._serve(context)
        finally:
            self._calls.discard(task)

    async def _serve(self, context: Any) -> None:
        try:
            caller = self._access.caller(context)
        except SecurityError as error:
            refusal = RefusedError(str(error), reason="identity")
            await self._refuse(context, refusal, Caller(address=context.peer()), grpc.StatusCode.UNAUTHENTICATED)
            return
        ended: RefusedError | None = None
        down = self._streams.exchange(caller, _incoming(context))
        try:
            async for message in down:
                async with asyncio.timeout(_STALL_S):
                    await context.write(message)
        except RefusedError as error:
            ended = error
        except TimeoutError:
            ended = RefusedError("messages to the caller were not taken", reason="invalid")
        except Exception as error:  # gRPC would tell the caller what it says
            self._observer.failed(error)
            ended = RefusedError("the server failed", reason="failed", retry_after_s=1.0)
        finally:
            await down.aclose()  # type: ignore[attr-defined]  # of a generator
        if ended is not None:
            await self._refuse(context, ended, caller, code_of(ended))

    async def _refuse(self, context: Any, error: RefusedError, caller: Caller, code: grpc.StatusCode) -> None:
        """Ends the call, by an exception that gRPC takes."""
        self._observer.event(
            "stream_refused", reason=error.reason, text=str(error), caller=caller.identity, address=caller.address
        )
        async with asyncio.timeout(_STATUS_S):
            await context.abort(code, str(error), trailing_metadata(error))


async def _incoming(context: Any) -> AsyncIterator[bytes]:
    while (message := await context.read()) is not grpc.aio.EOF:
        yield message
