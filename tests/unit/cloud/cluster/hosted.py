"""A cluster in the test's process, in the event loop of its links: workers that freeze, die and are slow on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fluxshard.cloud.cluster.front import Front
from fluxshard.cloud.cluster.options import ClusterOptions
from fluxshard.cloud.cluster.placement.leases import HeldLease
from fluxshard.cloud.cluster.placement.placements import Placements
from fluxshard.cloud.cluster.placement.scaling import ScaleOptions
from fluxshard.cloud.cluster.supervisor import Supervisor
from fluxshard.cloud.cluster.worker.controlled import ControlledWorker
from fluxshard.cloud.cluster.worker.granted_claims import GrantedClaims
from fluxshard.cloud.cluster.worker.messages import Answer, Description, Request
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.network.following_transport import FollowingTransport
from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.cloud.server.metrics import SilentObserver
from fluxshard.errors import TransportError
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.two_places import server_of
from tests.offload.streams import in_links, until

QUICK = ClusterOptions(
    scale=ScaleOptions(least=3, most=3), beat_s=0.05, lease_s=0.6, ask_s=0.3, open_s=2.0, kill_s=2.0, drain_s=2.0,
    measure_s=0.2, even_s=0.2,
)  # fmt: skip


class HostedWorker:
    """See `Worker`. A worker that is frozen neither answers orders nor sends a byte; one that is killed is gone.

    Args:
      name: of it.
      models: that it serves.
      max_streams: that it takes.
    """

    def __init__(self, name: str, models: tuple[LocalModel, ...], max_streams: int) -> None:
        self._name, self.faults = name, Faults()
        lease, loop = HeldLease(), asyncio.get_running_loop()
        self.claims = GrantedClaims(lambda: lease.holds(loop.time()))
        self.streams = server_of(*models, limits=ServerLimits(max_streams=max_streams), claims=self.claims)
        description = Description(address=name, max_streams=max_streams, pid=0)
        self.worker = ControlledWorker(
            self.streams, self.claims, lease, description, stop=lambda: asyncio.ensure_future(self._leave()),
            clock=loop.time,
        )  # fmt: skip
        self._goes, self._dead = asyncio.Event(), asyncio.Event()
        self._goes.set()
        self._watching = asyncio.create_task(self.worker.watch())
        self.kills = 0
        self.drop_answers_to: type[Any] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def open_streams(self) -> dict[str, int]:
        return self.claims.open_streams

    async def ask(self, request: Request) -> Answer:
        dead = asyncio.ensure_future(self._dead.wait())
        try:
            while not self._goes.is_set() and not self._dead.is_set():
                goes = asyncio.ensure_future(self._goes.wait())
                await asyncio.wait({goes, dead}, return_when=asyncio.FIRST_COMPLETED)
                goes.cancel()
            await asyncio.sleep(0)
            if self._dead.is_set():
                raise TransportError(f"worker {self._name} has ended")
            answer = self.worker.answer(request)
            if self.drop_answers_to is not None and isinstance(request, self.drop_answers_to):
                await self._dead.wait()
            return answer
        finally:
            dead.cancel()

    async def kill(self) -> None:
        self.kills += 1
        self.die()

    def die(self) -> None:
        """As if its process were killed."""
        self.faults.lost = self.faults.refuse = True
        self._dead.set()
        self._watching.cancel()

    def freeze(self) -> None:
        """As if its process were stopped."""
        self._goes.clear()
        self.faults.silent = True
        self._watching.cancel()

    def thaw(self) -> None:
        """As if its process went on."""
        self._goes.set()
        self.faults.silent = False
        self._watching = asyncio.create_task(self.worker.watch())

    async def _leave(self) -> None:
        self.worker.is_leaving = True
        self.streams.drain(2.0)
        while self.streams.connected:
            await asyncio.sleep(0.01)
        await self.worker.told_leaving.wait()
        await asyncio.sleep(0.01)
        self.die()


class HostedPool:
    """See `WorkerPool`; keeps all workers that it has made."""

    def __init__(self, models: tuple[LocalModel, ...], max_streams: int) -> None:
        self._models, self._max_streams = models, max_streams
        self.made: list[HostedWorker] = []
        self.failures = 0

    async def start(self) -> HostedWorker:
        if self.failures:
            self.failures -= 1
            raise TransportError("there is no room for a worker")
        worker = HostedWorker(f"w{len(self.made) + 1}", self._models, self._max_streams)
        self.made.append(worker)
        return worker

    async def close(self) -> None:
        for worker in self.made:
            worker.die()


class Events(SilentObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[Exception] = []

    def event(self, name: str, **facts: Any) -> None:
        self.seen.append((name, facts))

    def failed(self, error: Exception) -> None:
        self.failures.append(error)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [facts for seen, facts in self.seen if seen == name]


class Hosted:
    """A cluster that runs; everything of it is for the links' event loop."""

    def __init__(self, models: tuple[LocalModel, ...], options: ClusterOptions, max_streams: int, quota: int) -> None:
        self.pool, self.events = HostedPool(models, max_streams), Events()
        self.supervisor = Supervisor(self.pool, Placements(max_per_identity=quota), options, observer=self.events)
        self.front = Front(self.supervisor, ServerLimits(), open_s=options.open_s, observer=self.events)

    def transport(self, caller: Caller | None = None) -> FollowingTransport:
        """Of an edge."""
        return FollowingTransport(
            InProcessTransport(self.front, caller),  # type: ignore[arg-type]  # it only exchanges
            lambda address, _: self._to(address, caller),
        )

    def _to(self, address: str, caller: Caller | None) -> InProcessTransport:
        worker = self.worker(address)
        return InProcessTransport(worker.streams, caller, worker.faults)

    def worker(self, name: str) -> HostedWorker:
        return next(worker for worker in self.pool.made if worker.name == name)

    def owner(self, stream: str) -> HostedWorker:
        """The worker on which a stream is placed."""
        place = self.supervisor.placements.place_of(stream)
        assert place is not None
        return self.worker(place.worker)

    def call(self, function: Callable[[], object]) -> None:
        """Calls something in the event loop."""

        async def work() -> None:
            function()

        in_links(work())


@contextmanager
def hosted(
    *models: LocalModel, options: ClusterOptions = QUICK, max_streams: int = 72, quota: int = 0
) -> Iterator[Hosted]:
    """A cluster that runs while it is entered; all streams must have ended before."""

    async def begin() -> Hosted:
        cluster = Hosted(models, options, max_streams, quota)
        await cluster.supervisor.start()
        return cluster

    cluster = in_links(begin())
    try:
        yield cluster
        until(lambda: all(not worker.open_streams for worker in cluster.pool.made))
    finally:
        in_links(cluster.supervisor.close())
        for worker in cluster.pool.made:
            worker.streams.close()
