"""Whose a stream is on a worker: only whom the front has sent here opens it, under the epoch that was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fluxshard.cloud.server.admission.claims import Claims
from fluxshard.errors import RefusedError

ASK_FRONT_S = 0.1  # the front knows better, so the edge may ask it soon


def elsewhere() -> RefusedError:
    """The refusal of a stream that is not, or no longer, this worker's."""
    return RefusedError("the stream is not placed on this server", reason="draining", retry_after_s=ASK_FRONT_S)


@dataclass(frozen=True, slots=True)
class _Granted:
    identity: str
    epoch: int
    until: float


class GrantedClaims(Claims):
    """See `Claims`.

    Args:
      holds_lease: whether this worker may serve at all, now.
    """

    def __init__(self, holds_lease: Callable[[], bool]) -> None:
        super().__init__()
        self._holds_lease = holds_lease
        self._granted: dict[str, _Granted] = {}
        self._open: dict[str, int] = {}
        self._ended: list[tuple[str, int]] = []

    @property
    def open_streams(self) -> dict[str, int]:
        """Epochs of streams that are open, by name."""
        return dict(self._open)

    def grant(self, stream: str, identity: str, epoch: int, until: float) -> None:
        """A stream may be opened until a time; a grant before counts no longer."""
        before = self._granted.get(stream)
        if max(self._open.get(stream, 0), 0 if before is None else before.epoch) < epoch:
            self._granted[stream] = _Granted(identity, epoch, until)

    def revoke(self, stream: str, epoch: int) -> None:
        """A grant of this epoch or one before is over."""
        granted = self._granted.get(stream)
        if granted is not None and granted.epoch <= epoch:
            del self._granted[stream]

    def expire(self, now: float) -> None:
        """Grants that nobody has used in time are over, and without a lease all of them."""
        holds_lease = self._holds_lease()
        for stream, granted in tuple(self._granted.items()):
            if now >= granted.until or not holds_lease:
                del self._granted[stream]
                self._ended.append((stream, granted.epoch))

    def take_ended(self) -> tuple[tuple[str, int], ...]:
        """Streams that are over since they were taken last, with their epochs."""
        ended, self._ended = tuple(self._ended), []
        return ended

    @contextmanager
    def claim(self, stream: str, identity: str, on_lost: Callable[[], None], *, placed: int = 0) -> Iterator[int]:
        """See `Claims.claim`.

        Raises:
          RefusedError: the stream was not granted to this caller under this epoch; or there is no lease.
        """
        granted = self._granted.get(stream)
        if granted is None or (granted.identity, granted.epoch) != (identity, placed) or not self._holds_lease():
            raise elsewhere()
        del self._granted[stream]
        try:
            with super().claim(stream, identity, on_lost, placed=placed) as epoch:
                self._open[stream] = epoch
                yield epoch
        finally:
            self._ended.append((stream, placed))
            if self._open.get(stream) == placed:
                del self._open[stream]

    def _next_epoch(self, placed: int) -> int:
        return placed
