"""Several observers as one."""

from __future__ import annotations

from typing import Any

from fluxshard.cloud.server.metrics import FrameEnd, Observer
from fluxshard.cloud.wire.proto import offload_pb2 as pb


class Observers:
    """See `Observer`; tells all of them, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def frame(self, end: FrameEnd, result: pb.Result | None = None) -> None:
        """See `Observer.frame`."""
        for observer in self._observers:
            observer.frame(end, result)

    def failed(self, error: Exception) -> None:
        """See `Observer.failed`."""
        for observer in self._observers:
            observer.failed(error)

    def event(self, name: str, **facts: Any) -> None:
        """See `Observer.event`."""
        for observer in self._observers:
            observer.event(name, **facts)
