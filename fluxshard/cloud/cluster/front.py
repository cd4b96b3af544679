"""The front of a cluster: it answers greetings with the worker that takes the stream. No frame passes through it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fluxshard.cloud.cluster.supervisor import Supervisor
from fluxshard.cloud.server.admission.greeting import greeting, stream_name
from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.cloud.server.metrics import Observer, SilentObserver
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError


class Front:
    """Serves greetings in the place of a `StreamServer`. For one event loop.

    Args:
      supervisor: of the workers.
      limits: of the server; greetings that are answered at the same time are bounded by its streams.
      open_s: within which an edge has to open its stream on its worker.
      server_name: in the workers' certificates, where it is not that of their hosts.
      observer: is told what happens.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        limits: ServerLimits,
        *,
        open_s: float,
        server_name: str = "",
        observer: Observer | None = None,
    ) -> None:
        self._supervisor, self._limits = supervisor, limits
        self._open_ms, self._server_name = round(1e3 * open_s), server_name
        self._observer = observer or SilentObserver()
        self._connected, self._is_draining = 0, False

    @property
    def connected(self) -> int:
        """Greetings that are being answered."""
        return self._connected

    def drain(self, deadline_s: float, moved_to: str = "") -> None:
        """Places nothing more; streams that are open are the workers' own."""
        self._is_draining = True

    async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """See `StreamServer.exchange`; the only message is where the stream goes.

        Raises:
          RefusedError: the stream cannot be placed.
        """
        if self._is_draining:
            raise RefusedError("the server is about to stop", reason="draining", retry_after_s=self._limits.retry_s)
        if self._connected >= 2 * self._limits.max_streams:
            raise RefusedError("too many ask at once", reason="full", retry_after_s=self._limits.retry_s)
        self._connected += 1
        try:
            hello = await greeting(up, self._limits.hello_s)
            stream = stream_name(hello, caller)
            place, address = await self._supervisor.place(stream, caller.identity)
            self._observer.event(
                "stream_placed", stream=stream, caller=caller.identity, worker=place.worker, epoch=place.epoch
            )
            placed = pb.Placed(address=address, server_name=self._server_name, epoch=place.epoch, open_ms=self._open_ms)
            yield pb.Down(placed=placed).SerializeToString()
        finally:
            self._connected -= 1
