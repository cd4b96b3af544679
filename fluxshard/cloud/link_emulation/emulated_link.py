"""A link between edges and a server on this machine, whatever emulates it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from fluxshard.cloud.link_emulation.options import LinkOptions

Kind = Literal["packets", "shaper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStats:
    """What a link has carried.

    Attributes:
      up_bytes, down_bytes: that arrived; with headers where packets are carried.
      up_packets, down_packets: that arrived; of a shaper, pieces of at most 16 KiB.
      dropped: packets for which the queue had no room; a shaper makes senders wait instead.
      lost: packets that were lost on purpose.
    """

    up_bytes: int
    down_bytes: int
    up_packets: int
    down_packets: int
    dropped: int
    lost: int


class EmulatedLink(Protocol):
    """A link that is up from the moment it is entered until it is left.

    Attributes:
      kind: "packets" where packets are carried and TCP sees rate, delay, queue and loss; "shaper" where bytes are held
        back in user space, and a sender sees neither round trips nor losses. Tables say which.
      options: what the link is like.
      listen_host: where the server has to listen.
    """

    kind: Kind
    options: LinkOptions
    listen_host: str

    def server_command(self, command: Sequence[str]) -> list[str]:
        """A command that runs at the server's end."""
        ...

    def edge_command(self, command: Sequence[str], edge: int = 0) -> list[str]:
        """A command that runs at an edge's end."""
        ...

    def address(self, port: int, edge: int = 0) -> tuple[str, int]:
        """Host and port at which an edge reaches the server that listens on a port of `listen_host`."""
        ...

    def stats(self) -> LinkStats:
        """What was carried, once the link is left."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
