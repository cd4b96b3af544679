"""What a server tells of itself: counters and times for Prometheus, events for logs. No stream is named in metrics."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from fluxshard.cloud.wire.proto import offload_pb2 as pb


class FrameEnd(Enum):
    """How a frame ended on the server."""

    ANSWERED = "answered"
    REFRESHED = "refreshed"
    REJECTED = "rejected"
    NEEDS_KEY = "needs_key"


class Observer(Protocol):
    """Is told what happens on a server."""

    def frame(self, end: FrameEnd, result: pb.Result | None = None) -> None:
        """A frame has ended.

        Args:
          end: how.
          result: its figures, where it ran.
        """
        ...

    def failed(self, error: Exception) -> None:
        """A frame failed because of the server."""
        ...

    def event(self, name: str, **facts: Any) -> None:
        """Anything else, for logs."""
        ...


class SilentObserver:
    """See `Observer`; says nothing."""

    def frame(self, end: FrameEnd, result: pb.Result | None = None) -> None:
        """See `Observer.frame`."""

    def failed(self, error: Exception) -> None:
        """See `Observer.failed`."""

    def event(self, name: str, **facts: Any) -> None:
        """See `Observer.event`."""
