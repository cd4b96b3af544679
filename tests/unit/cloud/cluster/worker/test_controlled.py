"""A worker under orders: what it serves, what it ends, and what it tells."""

from __future__ import annotations

from contextlib import ExitStack

from fluxshard.cloud.cluster.placement.leases import HeldLease
from fluxshard.cloud.cluster.worker.controlled import ControlledWorker
from fluxshard.cloud.cluster.worker.granted_claims import GrantedClaims
from fluxshard.cloud.cluster.worker.messages import (
    Beat,
    Describe,
    Description,
    Done,
    Grant,
    Release,
    Report,
    Revoke,
    Stop,
)
from fluxshard.errors import RefusedError

DESCRIPTION = Description(address="127.0.0.1:1", max_streams=4, pid=1)


class World:
    """A worker whose clock is set by hand, and whose streams end when they are told to."""

    def __init__(self) -> None:
        self.now, self.running_s, self.cached_bytes = 100.0, 0.0, 5000
        self.released: list[str] = []
        self.stops = 0
        self._open: dict[str, ExitStack] = {}
        lease = HeldLease()
        self.claims = GrantedClaims(lambda: lease.holds(self.now))
        self.worker = ControlledWorker(
            self, self.claims, lease, DESCRIPTION, stop=self._stop, resident_bytes=lambda: 7, clock=lambda: self.now
        )

    @property
    def connected(self) -> int:
        return len(self._open)

    def release(self, stream: str, deadline_s: float, moved_to: str = "") -> None:
        self.released.append(stream)

    def end(self, stream: str, error: RefusedError) -> None:
        if stream in self._open:
            self._open.pop(stream).close()

    def open(self, stream: str, identity: str, epoch: int) -> None:
        stack = ExitStack()
        stack.enter_context(self.claims.claim(stream, identity, lambda: None, placed=epoch))
        self._open[stream] = stack

    def beat(self, heard_s: float | None = None) -> Report:
        report = self.worker.answer(Beat(lease_s=1.0, heard_s=heard_s))
        assert isinstance(report, Report)
        return report

    def lease(self) -> None:
        self.beat(self.beat().sent_s)

    def granted(self, stream: str, epoch: int, identity: str = "alice") -> Done:
        done = self.worker.answer(Grant(stream=stream, identity=identity, epoch=epoch, open_s=5.0))
        assert isinstance(done, Done)
        return done

    def _stop(self) -> None:
        self.stops += 1


def test_a_stream_from_grant_to_report() -> None:
    world = World()
    assert world.worker.answer(Describe()) == DESCRIPTION
    world.lease()
    assert not world.granted("door", 1).is_leaving
    world.open("door", "alice", 1)
    world.claims.worked("door", 0.25)
    world.running_s = 0.5
    report = world.beat()
    assert (report.sent_s, report.streams, report.cached_bytes, report.resident_bytes) == (100.0, 1, 5000, 7)
    assert report.work_s == {"door": 0.25} and report.running_s == 0.5 and report.ended == ()
    world.end("door", RefusedError("", reason="draining"))
    assert world.beat().ended == (("door", 1),) and world.beat().ended == ()


def test_without_beats_all_streams_are_ended_and_nothing_is_opened() -> None:
    world = World()
    assert not world.beat().holds_lease
    world.lease()
    assert world.beat().holds_lease
    world.granted("door", 1)
    world.granted("gate", 2)
    world.open("door", "alice", 1)
    world.now += 0.9
    world.worker.check()
    assert world.connected == 1
    world.now += 0.1
    world.worker.check()
    assert world.connected == 0 and world.claims.open_streams == {} and not world.beat().holds_lease
    world.lease()
    world.granted("door", 3)
    world.open("door", "alice", 3)
    assert world.connected == 1, "with a new lease, new grants are as good as ever"


def test_a_beat_that_was_held_up_while_the_worker_was_frozen_gives_no_lease() -> None:
    world = World()
    sent = world.beat().sent_s
    world.now += 5.0  # frozen, with the next beat in its socket
    world.beat(sent)
    world.granted("door", 1)
    world.worker.check()
    assert world.claims.open_streams == {} and not world.claims._holds_lease()


def test_a_new_epoch_ends_the_connection_before() -> None:
    world = World()
    world.lease()
    world.granted("door", 1)
    world.open("door", "alice", 1)
    world.granted("door", 2)
    assert world.connected == 0
    world.open("door", "alice", 2)
    world.granted("door", 1)  # an order that was held up
    assert world.connected == 1 and world.claims.open_streams == {"door": 2}


def test_revoking_ends_this_epoch_and_those_before_only() -> None:
    world = World()
    world.lease()
    for epoch in (1, 3):
        world.granted("door", epoch)
    world.open("door", "alice", 3)
    world.worker.answer(Revoke(stream="door", epoch=2))
    world.worker.answer(Revoke(stream="gate", epoch=9))
    assert world.connected == 1
    world.worker.answer(Revoke(stream="door", epoch=3))
    assert world.connected == 0


def test_releasing_and_stopping() -> None:
    world = World()
    world.lease()
    world.granted("door", 4)
    world.open("door", "alice", 4)
    world.worker.answer(Release(stream="door", epoch=3, deadline_s=1.0))
    world.worker.answer(Release(stream="gate", epoch=4, deadline_s=1.0))
    assert world.released == []
    world.worker.answer(Release(stream="door", epoch=4, deadline_s=1.0))
    assert world.released == ["door"] and world.stops == 0
    world.worker.answer(Stop())
    assert world.stops == 1


def test_a_worker_that_leaves_takes_nothing_and_says_so() -> None:
    world = World()
    world.lease()
    world.worker.is_leaving = True
    assert world.granted("door", 1).is_leaving and world.beat().is_leaving


def test_grants_that_nobody_uses_are_reported_as_ended() -> None:
    world = World()
    world.lease()
    world.granted("door", 1)
    for _ in range(10):
        world.now += 0.5
        world.lease()
    world.worker.check()
    assert world.beat().ended == (("door", 1),)
    world.granted("gate", 2)
    world.now += 2.0  # the lease is over first
    world.worker.check()
    assert world.beat().ended == (("gate", 2),)
