"""Which connection owns a stream. The same caller takes its stream over; another one is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fluxshard.errors import RefusedError

_TAKEN_RETRY_S = 10.0  # two edges that use one name must not take it from each other all the time


def taken_over() -> RefusedError:
    """What the connection before is told."""
    return RefusedError("the stream was opened anew by the same caller", reason="taken", retry_after_s=_TAKEN_RETRY_S)


@dataclass(slots=True, eq=False)
class _Owner:
    identity: str
    epoch: int
    on_lost: Callable[[], None]
    work_s: float = 0.0


class Claims:
    """The streams of a server, by name. For one event loop.

    A link that is half open looks alive to the server for minutes, so whoever proves to be the same caller is let in at
    once, and the connection before is ended: its epoch is over, and what it still sends counts for nothing.
    """

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._owners)

    def count(self, identity: str) -> int:
        """Streams that a caller owns."""
        return sum(owner.identity == identity for owner in self._owners.values())

    def owns(self, stream: str, identity: str) -> bool:
        """Whether a caller owns a stream."""
        owner = self._owners.get(stream)
        return owner is not None and owner.identity == identity

    def worked(self, stream: str, seconds: float) -> None:
        """A frame of a stream has taken so much of the engine's time."""
        owner = self._owners.get(stream)
        if owner is not None:
            owner.work_s += seconds

    def take_work(self) -> dict[str, float]:
        """Seconds of the engine's time by stream, since they were taken last; of streams that had any."""
        found = {}
        for stream, owner in self._owners.items():
            if owner.work_s:
                found[stream], owner.work_s = owner.work_s, 0.0
        return found

    @contextmanager
    def claim(self, stream: str, identity: str, on_lost: Callable[[], None], *, placed: int = 0) -> Iterator[int]:
        """Owns a stream while it is entered.

        Args:
          stream: its name.
          identity: of the caller.
          on_lost: called when the same caller takes it over.
          placed: the epoch under which a front has placed the stream here, as the caller says; a server of its own
            counts epochs itself.

        Yields:
          the epoch: larger than any before.

        Raises:
          RefusedError: another caller owns it.
        """
        before = self._owners.get(stream)
        if before is not None:
            if before.identity != identity:
                raise RefusedError("a stream of this name belongs to another caller", reason="taken")
            before.on_lost()
        mine = self._owners[stream] = _Owner(identity, self._next_epoch(placed), on_lost)
        try:
            yield mine.epoch
        finally:
            if self._owners.get(stream) is mine:
                del self._owners[stream]

    def _next_epoch(self, placed: int) -> int:
        self._epoch += 1
        return self._epoch
