"""Health of a server, as gRPC asks for it: `grpc.health.v1`, overall, of the service, and of each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio

from fluxshard.cloud.network.settings import SERVICE
from fluxshard.cloud.security.peer import require_tls_1_3
from fluxshard.errors import SecurityError

MOST_WATCHERS = 64  # anyone who can connect may watch


class Health(aio.HealthServicer):  # type: ignore[misc]  # untyped
    """Answers what is asked, over TLS 1.3 where the server has TLS.

    Args:
      models: names of what is served.
      has_tls: of the server.
    """

    def __init__(self, models: Sequence[str], *, has_tls: bool) -> None:
        super().__init__()
        self._models, self._has_tls, self._watchers = models, has_tls, 0

    async def begin(self) -> None:
        """From now on all is well."""
        for name in ("", SERVICE, *self._models):
            await self.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def end(self) -> None:
        """From now on nothing new is taken, for good."""
        await self.enter_graceful_shutdown()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Makes a server answer."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    async def Check(self, request: Any, context: Any) -> Any:
        """See `grpc.health.v1`."""
        await self._check(context)
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:
        """See `grpc.health.v1`."""
        await self._check(context)
        if self._watchers >= MOST_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch already")
        self._watchers += 1
        try:
            await super().Watch(request, context)
        finally:
            self._watchers -= 1

    async def _check(self, context: Any) -> None:
        if self._has_tls:
            try:
                require_tls_1_3(context.auth_context())
            except SecurityError as error:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
