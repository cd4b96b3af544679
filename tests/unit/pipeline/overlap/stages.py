"""Videos and sinks whose pace and failures a test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from fluxshard.errors import VideoError
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.testing.fake_session import YOLO_LIKE
from tests.unit.pipeline.frame_loop import frames, head_of

DEADLINE_S = 30


def loop_of(session):
    return StreamLoop(session=session, detect=head_of(YOLO_LIKE, 0.25))


@dataclass
class Film:
    """Frames that count how many have been read; one of them may be damaged."""

    n: int
    damaged_at: int | None = None
    read: int = 0

    def __iter__(self):
        for frame in frames(self.n):
            if frame.index == self.damaged_at:
                raise VideoError(f"damaged at frame {frame.index}")
            self.read += 1
            yield frame


@dataclass
class Gap:
    """Frames, after which none comes until the wait for one is ended; before it, somebody is told.

    `waited` is whether the wait was ended, or else given up; None while there was none.
    """

    n: int
    reached: Callable[[], None] = lambda: None
    ended: threading.Event = field(default_factory=threading.Event)
    waited: bool | None = None

    def __iter__(self):
        yield from frames(self.n)
        self.reached()
        self.waited = self.ended.wait(DEADLINE_S)

    def interrupt(self):
        self.ended.set()


@dataclass
class Sink:
    """Keeps the numbers of the frames that it was given; it may fail, and waits while its gate is closed."""

    fail_at: int | None = None
    unprepared_at: int | None = None
    shows_work: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    prepared: list = field(default_factory=list)
    written: list = field(default_factory=list)
    maps: list = field(default_factory=list)
    threads: set = field(default_factory=set)

    def __post_init__(self):
        self.gate.set()

    def prepare(self, record, view):
        if record.frame == self.unprepared_at:
            raise OSError(f"frame {record.frame} cannot be drawn")
        if self.shows_work:
            self.maps.append(view.work_map())
        self.prepared.append(record.frame)
        return partial(self._write, record)

    def write(self, record, view):
        self.prepare(record, view)()

    def _write(self, record):
        assert self.gate.wait(DEADLINE_S)
        if record.frame == self.fail_at:
            raise OSError(f"no space left at frame {record.frame}")
        self.threads.add(threading.current_thread().name)
        self.written.append(record.frame)


def threads():
    """Names of the pipeline's threads that are alive; that of links to servers lives as long as the process."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if name.startswith("fluxshard-") and name != "fluxshard-links")
