"""Memory of cached features over all streams: idle streams give way before a new one is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class CacheLease:
    """What one stream holds. Made by `CachePool.lease`.

    Attributes:
      identity: of the caller.
      evict: frees the cache; the stream's next frame has to be a keyframe. Only called while it is not `busy`.
      n_bytes: held now.
      used_at: when a frame was last run.
      busy: a frame runs.
    """

    identity: str
    evict: Callable[[], None]
    n_bytes: int = 0
    used_at: float = 0.0
    busy: bool = field(default=False)


class CachePool:
    """Counts the memory of all streams. For one event loop.

    Args:
      cache_bytes: that all may hold together.
    """

    def __init__(self, cache_bytes: int) -> None:
        self._most = cache_bytes
        self._leases: set[CacheLease] = set()

    @property
    def n_bytes(self) -> int:
        """Held by all streams; may be read from any thread."""
        return sum(lease.n_bytes for lease in tuple(self._leases))

    @property
    def holders(self) -> int:
        """Streams that hold anything."""
        return sum(lease.n_bytes > 0 for lease in self._leases)

    def lease(self, identity: str, evict: Callable[[], None]) -> CacheLease:
        """A lease that holds nothing yet."""
        lease = CacheLease(identity, evict)
        self._leases.add(lease)
        return lease

    def release(self, lease: CacheLease) -> None:
        """The stream is gone."""
        self._leases.discard(lease)

    def make_room(self, lease: CacheLease, n_bytes: int) -> bool:
        """Whether a stream may hold so much; evicts idle ones for it, the caller's own first, then the longest idle.

        Args:
          lease: of the stream.
          n_bytes: that it is about to hold.
        """
        others = sorted(
            (other for other in self._leases if other is not lease and other.n_bytes and not other.busy),
            key=lambda other: (other.identity != lease.identity, other.used_at),
        )
        free = self._most - (self.n_bytes - lease.n_bytes)
        if free + sum(other.n_bytes for other in others) < n_bytes:
            return False
        for other in others:
            if free >= n_bytes:
                break
            free += other.n_bytes
            other.evict()
            other.n_bytes = 0
        return True
