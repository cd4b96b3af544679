"""Events of a server as lines: JSON, or words for people."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog

from fluxshard.cloud.server.metrics import FrameEnd
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import FluxShardError

LogFormat = Literal["json", "text"]

_MOST_PER_S = 50  # of one kind of event: whoever is refused may ask again at once, and must not fill the disk
_LEVELS = {"stream_refused": "warning", "frame_failed": "error", "library": "warning"}


class EventLog:
    """See `Observer`; writes a line for every event but frames that went well.

    Args:
      file: gets the lines; what cannot be written is lost.
      form: of the lines.
      **always: facts that every line has.
    """

    def __init__(self, file: TextIO, form: LogFormat, **always: str) -> None:
        renderer: Any = (
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.processors.LogfmtRenderer(key_order=["time", "level", "event"])
        )
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(file),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                renderer,
            ],
            wrapper_class=structlog.BoundLogger,
            cache_logger_on_first_use=False,
        ).bind(**always)
        self._second, self._counts = 0, dict[str, int]()

    def frame(self, end: FrameEnd, result: pb.Result | None = None) -> None:
        """See `Observer.frame`."""

    def failed(self, error: Exception) -> None:
        """See `Observer.failed`; with the stack, where the error is none that this package raises on purpose."""
        stack = "" if isinstance(error, FluxShardError) else "".join(traceback.format_exception(error))
        self.event("frame_failed", error=type(error).__name__, text=str(error), **({"stack": stack} if stack else {}))

    def event(self, name: str, **facts: Any) -> None:
        """See `Observer.event`."""
        for kind, count in self._started_second():
            self._write("suppressed", of=kind, count=count)
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._counts[name] <= _MOST_PER_S:
            self._write(name, **facts)

    def _started_second(self) -> list[tuple[str, int]]:
        """Where a new second has begun: which events of the last one were not written, and how many."""
        second = int(time.monotonic())
        if second == self._second:
            return []
        left = [(kind, count - _MOST_PER_S) for kind, count in self._counts.items() if count > _MOST_PER_S]
        self._second, self._counts = second, {}
        return left

    def _write(self, event: str, **facts: Any) -> None:
        with suppress(OSError, ValueError):  # a full disk, or a file that was closed
            getattr(self._log, _LEVELS.get(event, "info"))(event, **facts)
