"""A worker of a cluster: `fluxshard serve` under a supervisor's control."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fluxshard.cli.serving.cluster_flags import worker_address
from fluxshard.cli.serving.request import ServeRequest
from fluxshard.cloud.cluster.placement.leases import HeldLease
from fluxshard.cloud.cluster.worker.control_channel import follow_orders
from fluxshard.cloud.cluster.worker.controlled import ControlledWorker
from fluxshard.cloud.cluster.worker.granted_claims import GrantedClaims
from fluxshard.cloud.cluster.worker.messages import Description
from fluxshard.cloud.security.access import split_address
from fluxshard.cloud.server.stream_server import StreamServer

_STATM = Path("/proc/self/statm")
_TOLD_S, _ANSWER_S = 1.0, 0.05


@dataclass(slots=True, eq=False)
class Orders:
    """What a supervisor's orders have come to.

    Attributes:
      worker: that follows them.
      is_orphan: the supervisor is gone: nobody gives leases any more.
    """

    worker: ControlledWorker
    is_orphan: bool = False

    async def told(self) -> None:
        """Waits until the supervisor knows that the worker leaves, and that its streams have; not for long."""
        if not self.is_orphan:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TOLD_S):
                    await self.worker.told_leaving.wait()
                    await asyncio.sleep(_ANSWER_S)


class Control:
    """A process's supervisor, and the claims that it decides. For one event loop."""

    def __init__(self) -> None:
        self._lease = HeldLease()
        loop = asyncio.get_running_loop()
        self.claims = GrantedClaims(lambda: self._lease.holds(loop.time()))
        """Of the worker's streams."""

    @asynccontextmanager
    async def followed(
        self, request: ServeRequest, streams: StreamServer, address: str, stop: asyncio.Event
    ) -> AsyncIterator[Orders]:
        """Follows orders while it is entered.

        Args:
          request: of the worker; has a control socket.
          streams: that it serves.
          address: that it listens on.
          stop: set when the supervisor wants the worker to end, or is gone.
        """
        assert request.control_fd is not None
        _, port = split_address(address)
        host = request.worker_host
        description = Description(
            address=address if host is None else worker_address(host, port),
            max_streams=request.max_streams,
            pid=os.getpid(),
        )
        loop = asyncio.get_running_loop()
        worker = ControlledWorker(
            streams, self.claims, self._lease, description, stop=stop.set, resident_bytes=_resident_bytes,
            clock=loop.time,
        )  # fmt: skip
        orders = Orders(worker)
        control = socket.socket(fileno=request.control_fd)
        control.setblocking(False)

        def over(task: asyncio.Task[None]) -> None:
            orders.is_orphan = True
            stop.set()

        tasks = [asyncio.create_task(follow_orders(control, worker.answer)), asyncio.create_task(worker.watch())]
        tasks[0].add_done_callback(over)
        try:
            yield orders
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _resident_bytes() -> int:
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # not on Linux
        return 0
