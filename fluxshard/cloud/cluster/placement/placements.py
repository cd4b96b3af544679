"""Who owns which stream. An epoch belongs to one placing of one stream, and no two workers ever serve a stream at once.

A stream that is placed anew while its worker before may still serve it has that worker's place as a fence: the new
worker is told of the stream only when all its fences are down, because the worker has confirmed the end or is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fluxshard.errors import RefusedError

_WEIGHT = 0.3  # of the newest report in a stream's load
_RETRY_S = 1.0
_REMEMBERED = 1000  # streams that are gone whose load is remembered, besides as many as there are
_IDLE_GAP = 0.05  # of a worker, by which loads may always differ: nobody waits longer for that
_LEAST_GAIN = 0.95  # what a move has to leave of a gap, at most: rounding is no reason for a keyframe


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A stream on a worker.

    Attributes:
      stream: its name.
      worker: name of the worker.
      epoch: of this placing; larger than all before, over all streams.
    """

    stream: str
    worker: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A stream that should go elsewhere.

    Attributes:
      place: where it is.
      target: name of the worker that it should go to; by the time it goes, another may be better.
    """

    place: Place
    target: str


@dataclass(slots=True, eq=False)
class _Worker:
    max_streams: int
    is_open: bool = True
    streams: set[str] = field(default_factory=set)
    work: float = 0.0  # sum of its streams' shares

    @property
    def load(self) -> float:
        return self.work + len(self.streams) / self.max_streams


@dataclass(slots=True, eq=False)
class _Stream:
    identity: str
    place: Place | None = None
    fences: dict[str, Place] = field(default_factory=dict)  # by worker
    share: float | None = None  # of a worker's time; None before it was measured
    was_idle: bool = False  # in the only report so far, which may have come before its first frame


class Placements:
    """Streams, workers, and who owns what.

    A worker's load is the share of its time that its streams take, as measured, plus the share of its slots that they
    hold: idle streams take memory. A stream that was not measured yet counts as the mean of those that were; one that
    comes back counts as before.

    Args:
      max_per_identity: streams of one caller; 0 for as many as there is room for.
      first_epoch: that the first placing gets.
    """

    def __init__(self, *, max_per_identity: int = 0, first_epoch: int = 1) -> None:
        self._most, self._next_epoch = max_per_identity, first_epoch
        self._workers: dict[str, _Worker] = {}
        self._streams: dict[str, _Stream] = {}
        self._counts: dict[str, int] = {}  # streams by identity
        self._measured, self._measured_sum = 0, 0.0
        self._shares: dict[tuple[str, str], float] = {}  # of streams that were here, the oldest first

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def workers(self) -> Mapping[str, float]:
        """Load of every worker that is not lost."""
        return {name: worker.load for name, worker in self._workers.items()}

    def streams_of(self, worker: str) -> frozenset[str]:
        """Streams that are placed on a worker."""
        return frozenset(self._workers[worker].streams)

    def usage_of(self, worker: str) -> float:
        """Share of a worker's time that its streams take, or of its slots that they hold, whichever is larger."""
        found = self._workers[worker]
        return max(found.work, len(found.streams) / found.max_streams)

    def is_open(self, worker: str) -> bool:
        """Whether a worker is there and takes new streams."""
        found = self._workers.get(worker)
        return found is not None and found.is_open

    def place_of(self, stream: str) -> Place | None:
        """Where a stream is; None where it is nowhere."""
        found = self._streams.get(stream)
        return None if found is None else found.place

    def identity_of(self, stream: str) -> str:
        """The caller that owns a stream, which is somewhere."""
        return self._streams[stream].identity

    def fences(self, place: Place) -> tuple[Place, ...]:
        """Workers that may still serve the stream from before."""
        found = self._streams.get(place.stream)
        return () if found is None else tuple(found.fences.values())

    def may_grant(self, place: Place) -> bool:
        """Whether the worker may be told to take the stream: it was not placed anew since, and nobody else has it."""
        found = self._streams.get(place.stream)
        return found is not None and found.place == place and not found.fences

    def join(self, worker: str, max_streams: int) -> None:
        """A worker is there, without streams; for the first time, or after it was lost."""
        assert worker not in self._workers and max_streams > 0
        self._workers[worker] = _Worker(max_streams)

    def set_open(self, worker: str, is_open: bool) -> None:
        """Whether a worker takes new streams; one that is lost never does."""
        if worker in self._workers:
            self._workers[worker].is_open = is_open

    def lose(self, worker: str) -> tuple[Place, ...]:
        """A worker surely serves nothing any more; returns what was placed on it."""
        found = self._workers.get(worker)
        if found is None:
            return ()
        lost = []
        for name in tuple(found.streams):
            place = self._streams[name].place
            assert place is not None
            lost.append(place)
            self._leave(name)
        for name, stream in tuple(self._streams.items()):
            stream.fences.pop(worker, None)
            self._forget_if_over(name)
        del self._workers[worker]
        return tuple(sorted(lost, key=lambda place: place.epoch))

    def place(self, stream: str, identity: str, avoid: Collection[str] = ()) -> Place:
        """Places a stream on the worker with the least load, whether it had a place or not.

        Whoever owned it under the same identity before owns it no longer. See `fences` for what has to be ended first.

        Args:
          stream: its name.
          identity: of its caller.
          avoid: workers that have just failed to take it.

        Raises:
          RefusedError: "taken" by another caller, or "full".
        """
        known = self._streams.get(stream)
        if known is not None and known.identity != identity:
            raise RefusedError("a stream of this name belongs to another caller", reason="taken")
        if known is None and self._most and self._counts.get(identity, 0) >= self._most:
            raise self._full()
        worker = self._choose(stream, avoid)
        if known is None:
            known = self._streams[stream] = _Stream(identity, share=self._shares.pop((identity, stream), None))
            if known.share is not None:
                self._measured += 1
                self._measured_sum += known.share
            self._counts[identity] = self._counts.get(identity, 0) + 1
        before = known.place
        self._leave(stream)
        if before is not None:
            known.fences[before.worker] = before
        known.fences.pop(worker, None)  # the same worker ends what it had when it is told of the new epoch
        place = known.place = Place(stream=stream, worker=worker, epoch=self._next_epoch)
        self._next_epoch += 1
        self._workers[worker].streams.add(stream)
        self._workers[worker].work += self._share(known)
        return place

    def withdraw(self, place: Place) -> None:
        """Nobody knows whether a worker has taken a stream that was placed on it: it is a fence from now on."""
        found = self._streams.get(place.stream)
        if found is not None and found.place == place:
            self._leave(place.stream)
            found.fences[place.worker] = place

    def ended(self, worker: str, stream: str, epoch: int) -> None:
        """A worker serves a stream no longer, under this epoch or any before."""
        found = self._streams.get(stream)
        if found is None:
            return
        fence = found.fences.get(worker)
        if fence is not None and fence.epoch <= epoch:
            del found.fences[worker]
        if found.place is not None and found.place.worker == worker and found.place.epoch <= epoch:
            self._leave(stream)
        self._forget_if_over(stream)

    def measured(self, worker: str, shares: Mapping[str, float]) -> None:
        """A worker has reported.

        Args:
          worker: its name.
          shares: of its time, by stream; those that are not named took none.
        """
        found = self._workers.get(worker)
        if found is None:
            return
        for name in found.streams:
            stream, share = self._streams[name], shares.get(name, 0.0)
            if stream.share is None and not share and not stream.was_idle:
                stream.was_idle = True
                continue
            if stream.share is None:
                self._measured += 1
                after = share
            else:
                after = stream.share + _WEIGHT * (share - stream.share)
            self._measured_sum += after - (stream.share or 0.0)
            stream.share = after
        found.work = self._work(found)

    def moves(self, *, most: int, tolerance: float, pinned: Collection[str] = ()) -> list[Move]:
        """Streams whose move from the most to the least loaded worker would even out the load.

        Workers that take no streams are left alone: they may only be late, and one that leaves tells its streams.

        Args:
          most: moves.
          tolerance: no move is worth while while all loads are within this share of their mean.
          pinned: streams that have moved lately.
        """
        for worker in self._workers.values():  # means have changed since
            worker.work = self._work(worker)
        loads = {name: worker.load for name, worker in self._workers.items() if worker.is_open}
        room = {name: self._workers[name].max_streams - len(self._workers[name].streams) for name in loads}
        mean = sum(loads.values()) / max(1, len(loads))
        found: list[Move] = []
        stay = set(pinned)
        while loads and len(found) < most:
            source = max(loads, key=loads.__getitem__)
            target = min((name for name in loads if room[name]), key=loads.__getitem__, default=source)
            gap = loads[source] - loads[target]
            are_even = loads[source] <= mean * (1 + tolerance) and loads[target] >= mean * (1 - tolerance)
            movable = [
                (abs(gap - self._weight(name, source) - self._weight(name, target)), name)
                for name in self._workers[source].streams - stay
            ]
            if gap <= _IDLE_GAP or are_even or not movable:
                break
            left, name = min(movable)
            place = self._streams[name].place
            if not left < _LEAST_GAIN * gap or place is None:
                break
            stay.add(name)
            found.append(Move(place=place, target=target))
            loads[source] -= self._weight(name, source)
            loads[target] += self._weight(name, target)
            room[target] -= 1
        return found

    def _choose(self, stream: str, avoid: Collection[str]) -> str:
        known = self._streams.get(stream)
        here = None if known is None or known.place is None else known.place.worker
        found, least = None, 0.0
        for name, worker in self._workers.items():
            stays = name == here
            if not worker.is_open or name in avoid or len(worker.streams) - stays >= worker.max_streams:
                continue
            load = worker.load - (self._weight(stream, name) if stays else 0.0)
            if found is None or load < least:
                found, least = name, load
        if found is None:
            raise self._full()
        return found

    def _work(self, worker: _Worker) -> float:
        return sum(self._share(self._streams[name]) for name in worker.streams)

    def _weight(self, stream: str, worker: str) -> float:
        """What a stream adds to a worker's load."""
        return self._share(self._streams[stream]) + 1 / self._workers[worker].max_streams

    def _share(self, stream: _Stream) -> float:
        if stream.share is not None:
            return stream.share
        return self._measured_sum / self._measured if self._measured else 0.0

    def _leave(self, stream: str) -> None:
        """The stream has no place any more."""
        found = self._streams[stream]
        if found.place is not None:
            worker = self._workers[found.place.worker]
            worker.streams.discard(stream)
            worker.work = max(0.0, worker.work - self._share(found)) if worker.streams else 0.0
            found.place = None

    def _forget_if_over(self, stream: str) -> None:
        found = self._streams[stream]
        if found.place is not None or found.fences:
            return
        if found.share is not None:
            self._measured -= 1
            self._measured_sum = max(0.0, self._measured_sum - found.share) if self._measured else 0.0
            self._shares[found.identity, stream] = found.share  # it may only be on its way to another worker
            if len(self._shares) > len(self._streams) + _REMEMBERED:
                del self._shares[next(iter(self._shares))]
        self._counts[found.identity] -= 1
        if not self._counts[found.identity]:
            del self._counts[found.identity]
        del self._streams[stream]

    def _full(self) -> RefusedError:
        return RefusedError("the servers have no room for a stream", reason="full", retry_after_s=_RETRY_S)
