"""Starts workers, places streams on them, and moves streams away from those that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fluxshard.cloud.cluster.options import ClusterOptions
from fluxshard.cloud.cluster.placement.placements import Place, Placements
from fluxshard.cloud.cluster.placement.scaling import Scaler
from fluxshard.cloud.cluster.pool.protocol import WorkerPool
from fluxshard.cloud.cluster.watched_worker import WatchedWorker
from fluxshard.cloud.cluster.worker.messages import Done, Grant, Release, Report, Revoke, Stop
from fluxshard.cloud.server.admission.claims import taken_over
from fluxshard.cloud.server.metrics import Observer, SilentObserver
from fluxshard.errors import FluxShardError, RefusedError, TransportError

_CHECK_S = 0.02
_BUSY_S = 0.2  # after which an edge should ask again whose stream could not be placed now
_RESTART_S = (0.5, 30.0)  # pause before a worker is replaced that could not be started, first and longest


class Supervisor:
    """See the module. For one event loop; `close` it there.

    Args:
      pool: makes workers.
      placements: of streams.
      options: how patient to be, and how many workers there are.
      observer: is told what happens.
    """

    def __init__(
        self,
        pool: WorkerPool,
        placements: Placements | None = None,
        options: ClusterOptions | None = None,
        *,
        observer: Observer | None = None,
    ) -> None:
        self._pool, self._options = pool, options or ClusterOptions()
        self._placements = Placements() if placements is None else placements
        self._observer = observer or SilentObserver()
        self._scaler = Scaler(self._options.scale)
        self._workers: dict[str, WatchedWorker] = {}  # that take streams, or did until they were told to stop
        self._starting = 0
        self._restart_s = _RESTART_S[0]
        self._not_before = 0.0  # when the next worker may be started
        self._work: dict[str, dict[str, float]] = {}  # by worker: seconds of streams since they were counted last
        self._pinned: dict[str, float] = {}  # streams that have moved, and until when they stay
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def placements(self) -> Placements:
        """Who owns what."""
        return self._placements

    @property
    def workers(self) -> dict[str, WatchedWorker]:
        """Workers that take streams or are about to stop, by name."""
        return dict(self._workers)

    async def start(self) -> None:
        """Starts as many workers as there are at least; what has to be compiled, the first one compiles for all.

        Raises:
          FluxShardError: one cannot be started.
        """
        await self._start_one()
        await asyncio.gather(*(self._start_one() for _ in range(self._options.scale.least - 1)))
        while self._workers and not all(map(self._placements.is_open, self._workers)):
            await asyncio.sleep(_CHECK_S)
        self._begin(self._evening())
        self._begin(self._scaling())
        self._begin(self._measuring())

    async def place(self, stream: str, identity: str) -> tuple[Place, str]:
        """Finds a worker for a stream, and tells it; whoever served the stream before has surely ended.

        Args:
          stream: its name.
          identity: of its caller.

        Returns:
          the place, and the worker's address.

        Raises:
          RefusedError: another caller has it, there is no room, or no worker has answered in time.
        """
        failed: set[str] = set()
        try:
            async with asyncio.timeout(self._options.place_s):
                while True:
                    place = self._placements.place(stream, identity, failed)
                    if await self._granted(place):
                        return place, self._workers[place.worker].description.address
                    failed.add(place.worker)
        except TimeoutError:
            raise RefusedError("the stream cannot be placed at present", reason="full", retry_after_s=_BUSY_S) from None

    async def drain(self, worker: str) -> None:
        """A worker takes no more streams; those that it has are told to go, and it ends when they have."""
        watched = self._workers[worker]
        watched.is_stopping = True
        self._placements.set_open(worker, False)
        self._observer.event("worker_draining", worker=worker, streams=len(self._placements.streams_of(worker)))
        try:
            await watched.ask(Stop())
        except TransportError:
            return  # its watch knows more

    async def close(self) -> None:
        """Lets streams leave, and ends all workers."""
        self._is_closing = True
        await asyncio.gather(*(self.drain(name) for name in tuple(self._workers)))
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.drain_s + 2.0
        while self._workers and loop.time() < until:
            await asyncio.sleep(_CHECK_S)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()

    # --- placing ------------------------------------------------------------------------------------------------------

    async def _granted(self, place: Place) -> bool:
        """Whether the worker has taken the stream; False where another should be tried."""
        granting = False
        try:
            await self._take_down_fences(place)
            watched = self._workers.get(place.worker)
            if watched is None or not self._is_current(place):
                return False
            granting = True
            grant = Grant(
                stream=place.stream, identity=self._placements.identity_of(place.stream), epoch=place.epoch,
                open_s=self._options.open_s,
            )  # fmt: skip
            answer = await watched.ask(grant)
        except TransportError as error:
            if isinstance(error, RefusedError):
                raise
            self._placements.withdraw(place)
            self._placements.set_open(place.worker, False)  # until its next report
            return False
        except asyncio.CancelledError:
            if granting:
                self._placements.withdraw(place)
            else:
                self._placements.ended(place.worker, place.stream, place.epoch)
            raise
        if isinstance(answer, Done) and answer.is_leaving:
            self._placements.ended(place.worker, place.stream, place.epoch)
            self._placements.set_open(place.worker, False)
            return False
        return self._is_current(place)

    async def _take_down_fences(self, place: Place) -> None:
        """Ends the stream where it may still be served; waits until those that do not answer are lost."""
        asked: set[Place] = set()
        while fences := self._placements.fences(place):
            if not self._is_current(place):
                return
            for fence in fences:
                watched = self._workers.get(fence.worker)
                if fence in asked or watched is None:
                    continue
                asked.add(fence)
                self._begin(self._revoke(watched, fence))
            await asyncio.sleep(_CHECK_S / 10 if len(asked) == len(fences) else _CHECK_S)

    async def _revoke(self, watched: WatchedWorker, fence: Place) -> None:
        try:
            await watched.ask(Revoke(stream=fence.stream, epoch=fence.epoch), self._options.lease_s)
        except TransportError:
            return  # it will be lost
        self._placements.ended(fence.worker, fence.stream, fence.epoch)

    def _is_current(self, place: Place) -> bool:
        """Whether a stream is still placed there; not so where the worker was lost just now.

        Raises:
          RefusedError: its caller has asked for another place since.
        """
        now = self._placements.place_of(place.stream)
        if now is not None and now.epoch > place.epoch:
            raise taken_over()
        return now == place

    # --- workers ------------------------------------------------------------------------------------------------------

    async def _start_one(self) -> None:
        self._starting += 1
        try:
            watched = WatchedWorker(await self._pool.start(), self._options)
            try:
                description = await watched.ready()
            except TransportError as error:
                await watched.worker.kill()
                raise TransportError(
                    f"{error}, before it took streams: what it has printed or logged says why"
                ) from error
            except BaseException:
                await watched.worker.kill()
                raise
        finally:
            self._starting -= 1
        self._observer.event("worker_ready", worker=watched.name, address=description.address, pid=description.pid)
        self._begin(self._watch(watched))
        await asyncio.sleep(0)  # it is taken in

    async def _watch(self, watched: WatchedWorker) -> None:
        """Takes a worker in, and watches it; again where it was frozen and wakes up in time."""
        name, is_there = watched.name, True
        while is_there:
            self._take_in(watched)
            why = await watched.watch(
                lambda report: self._reported(watched, report), lambda: self._placements.set_open(name, False)
            )
            if why == "stuck":
                await watched.worker.kill()
            lost = self._placements.lose(name)
            del self._workers[name], self._work[name]
            event = "worker_stopped" if watched.is_stopping and why == "ended" else "worker_lost"
            self._observer.event(event, worker=name, why=why, streams=len(lost))
            is_there = False
            if why == "frozen" and not self._is_closing:
                self._starting += 1  # this one, or what will replace it
                try:
                    is_there = await watched.recovers()
                finally:
                    self._starting -= 1
                if is_there:
                    self._observer.event("worker_back", worker=name)
        await watched.worker.kill()

    def _take_in(self, watched: WatchedWorker) -> None:
        self._placements.join(watched.name, watched.description.max_streams)
        self._placements.set_open(watched.name, False)  # until it holds a lease
        self._workers[watched.name], self._work[watched.name] = watched, {}

    def _reported(self, watched: WatchedWorker, report: Report) -> None:
        name = watched.name
        for stream, epoch in report.ended:
            self._placements.ended(name, stream, epoch)
        work = self._work[name]
        for stream, seconds in report.work_s.items():
            work[stream] = work.get(stream, 0.0) + seconds
        if report.is_leaving and not watched.is_stopping:
            watched.is_stopping = True
            self._observer.event("worker_leaving", worker=name)
        self._placements.set_open(name, report.holds_lease and not watched.is_stopping)

    async def _measuring(self) -> None:
        loop = asyncio.get_running_loop()
        then = {name: loop.time() for name in self._workers}
        while True:
            await asyncio.sleep(self._options.measure_s)
            now = loop.time()
            for name, work in self._work.items():
                since_s = max(1e-3, now - then.get(name, now - self._options.measure_s))
                then[name] = now
                self._placements.measured(name, {stream: seconds / since_s for stream, seconds in work.items()})
                work.clear()
            then = {name: at for name, at in then.items() if name in self._work}

    async def _evening(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._options.even_s)
            now = loop.time()
            self._pinned = {stream: until for stream, until in self._pinned.items() if until > now}
            moves = self._placements.moves(
                most=self._options.moves_among(len(self._workers)),
                tolerance=self._options.tolerance,
                pinned=self._pinned,
            )
            for move in moves:
                watched = self._workers.get(move.place.worker)
                if watched is None or watched.is_stopping:  # which has told its streams itself
                    continue
                self._pinned[move.place.stream] = now + self._options.pin_s
                self._observer.event("stream_moved", worker=move.place.worker, stream=move.place.stream)
                self._begin(self._release(watched, move.place))

    async def _release(self, watched: WatchedWorker, place: Place) -> None:
        release = Release(stream=place.stream, epoch=place.epoch, deadline_s=self._options.drain_s)
        try:
            await watched.ask(release)
        except TransportError:
            return  # its watch knows more

    async def _scaling(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._options.beat_s)
            if self._is_closing:
                return
            usage = {
                name: self._placements.usage_of(name)
                for name, watched in self._workers.items()
                if not watched.is_stopping
            }
            count = len(usage) + self._starting
            wanted = self._scaler.wanted(list(usage.values()), self._starting, loop.time())
            if wanted > count and loop.time() >= self._not_before:
                self._begin(self._one_more())
                await asyncio.sleep(0)  # it counts from now on
            elif wanted < len(usage) and not self._starting:
                least = min(usage, key=usage.__getitem__)
                await self.drain(least)

    async def _one_more(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._start_one()
            self._restart_s = _RESTART_S[0]
        except FluxShardError as error:
            self._not_before = loop.time() + self._restart_s
            self._restart_s = min(2 * self._restart_s, _RESTART_S[1])
            self._observer.failed(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._observer.failed(error)
