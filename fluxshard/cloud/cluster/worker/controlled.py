"""A worker that follows its supervisor's orders, and serves nothing without a lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from fluxshard.cloud.cluster.placement.leases import HeldLease
from fluxshard.cloud.cluster.worker.granted_claims import GrantedClaims, elsewhere
from fluxshard.cloud.cluster.worker.messages import (
    Answer,
    Beat,
    Describe,
    Description,
    Done,
    Grant,
    Release,
    Report,
    Request,
    Revoke,
    Stop,
)
from fluxshard.cloud.server.admission.claims import taken_over
from fluxshard.errors import RefusedError

_CHECK_S = 0.05


class ServedStreams(Protocol):
    """What a worker serves; see `StreamServer`."""

    @property
    def cached_bytes(self) -> int:
        """Memory of all streams' cached features."""
        ...

    @property
    def running_s(self) -> float:
        """For which the engine has run its present frame."""
        ...

    def release(self, stream: str, deadline_s: float, moved_to: str = "") -> None:
        """Tells one stream to go."""
        ...

    def end(self, stream: str, error: RefusedError) -> None:
        """Ends one stream at once."""
        ...


class ControlledWorker:
    """Answers a supervisor. For the event loop of its streams.

    Args:
      streams: that it serves, under `claims`.
      claims: decide whose they are.
      lease: that `claims` ask for.
      description: of the worker.
      stop: is called when the supervisor wants the worker to end.
      resident_bytes: of this process.
      clock: that does not go back, and goes on while the process is frozen.
    """

    def __init__(
        self,
        streams: ServedStreams,
        claims: GrantedClaims,
        lease: HeldLease,
        description: Description,
        *,
        stop: Callable[[], object],
        resident_bytes: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams, self._claims, self._lease, self._description = streams, claims, lease, description
        self._stop, self._resident_bytes, self._clock = stop, resident_bytes, clock
        self.is_leaving = False
        """Takes no more streams; its reports say so."""
        self.told_leaving = asyncio.Event()
        """Set once a report has said so: whoever ends before that is taken for lost."""

    def answer(self, request: Request) -> Answer:
        """Follows an order."""
        if isinstance(request, Beat):
            return self._beat(request)
        if isinstance(request, Describe):
            return self._description
        if isinstance(request, Grant):
            return self._grant(request)
        if isinstance(request, Revoke):
            self._claims.revoke(request.stream, request.epoch)
            if self._claims.open_streams.get(request.stream, request.epoch + 1) <= request.epoch:
                self._streams.end(request.stream, taken_over())
        elif isinstance(request, Release):
            if self._claims.open_streams.get(request.stream) == request.epoch:
                self._streams.release(request.stream, request.deadline_s)
        elif isinstance(request, Stop):
            self._stop()
        return Done()

    async def watch(self) -> None:
        """Ends what may not be served any more; runs until it is cancelled."""
        while True:
            await asyncio.sleep(_CHECK_S)
            self.check()

    def check(self) -> None:
        """Ends grants that nobody has used and, without a lease, all streams."""
        self._claims.expire(self._clock())
        if not self._lease.holds(self._clock()):
            for stream in self._claims.open_streams:
                self._streams.end(stream, elsewhere())

    def _beat(self, beat: Beat) -> Report:
        if beat.heard_s is not None:
            self._lease.heard(beat.heard_s, beat.lease_s)
        if self.is_leaving:
            self.told_leaving.set()
        return Report(
            sent_s=self._clock(),
            ended=self._claims.take_ended(),
            work_s=self._claims.take_work(),
            streams=len(self._claims.open_streams),
            cached_bytes=self._streams.cached_bytes,
            resident_bytes=self._resident_bytes(),
            running_s=self._streams.running_s,
            holds_lease=self._lease.holds(self._clock()),
            is_leaving=self.is_leaving,
        )

    def _grant(self, grant: Grant) -> Done:
        if self.is_leaving:
            return Done(is_leaving=True)
        if self._claims.open_streams.get(grant.stream, grant.epoch) < grant.epoch:
            self._streams.end(grant.stream, taken_over())
        self._claims.grant(grant.stream, grant.identity, grant.epoch, self._clock() + grant.open_s)
        return Done()
