"""Which pictures may lack a part: those of packets that came incomplete."""

from __future__ import annotations

_MOST_HELD = 64  # packets whose pictures a decoder still owes: up to 16 that it reorders, and one a thread


class Suspects:
    """Time stamps of incomplete packets, until their pictures have come or can no longer come.

    Stamps return where a stream goes back in time or its clock wraps around: what is kept for ever condemns others.
    """

    def __init__(self) -> None:
        self._packets = 0
        self._since: dict[int | None, int] = {}  # number of the packet by its stamp, oldest first

    def packet(self, stamp: int | None, *, incomplete: bool) -> None:
        """Takes the next packet, before it is decoded.

        Args:
          stamp: its time stamp; None without one.
          incomplete: whether the container lacks a part of it.
        """
        self._packets += 1
        if incomplete:
            self._since.pop(stamp, None)
            self._since[stamp] = self._packets
        while self._since and next(iter(self._since.values())) <= self._packets - _MOST_HELD:
            del self._since[next(iter(self._since))]

    def discard(self, stamp: int | None) -> None:
        """Forgets a stamp: its picture has come, or will not."""
        self._since.pop(stamp, None)

    def __contains__(self, stamp: int | None) -> bool:
        return stamp in self._since

    def __len__(self) -> int:
        return len(self._since)
