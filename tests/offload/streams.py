"""Streams in two places for these tests: sessions whose frames, outputs and records are kept and replayed."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils._pytree import tree_leaves

from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.edge.connection.loop_thread import LINKS
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.errors import FluxShardError
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.transport import Transport
from fluxshard.testing.offload.two_places import SIZE, Replay, moving_frames, server_of, session_of, small_model

T = TypeVar("T")

REUSES = {
    "planned": ReuseOptions(
        policy="planned", planned=PlannedOptions(tau=0.02, tau_background=None, tau_small=None), scene_cut=0.95
    ),
    "propagated": ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=0.95),
}
PLANNED = REUSES["planned"]
CLOUD_FIRST = DispatchOptions(margin_ms=10_000.0)  # the edge has to be faster by so much
EDGE_FIRST = DispatchOptions(margin_ms=0.0, second_look_s=0.0)  # a server that cannot win is kept warm all the same
PATIENT = LinkOptions(connect_s=20.0, silence_s=20.0, backoff_s=(0.01, 0.05))  # a busy machine is no lost link
MODEL = small_model()
STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096
FRAMES = 2000  # that a stream may have


class Stream:
    """A session, and all that becomes of its frames.

    Args:
      transport: to the server.
      model: of the edge.
      reuse: of the stream.
      dispatch, link, options: of the session.
    """

    def __init__(
        self,
        transport: Transport,
        model: LocalModel = MODEL,
        reuse: ReuseOptions = PLANNED,
        *,
        dispatch: DispatchOptions = CLOUD_FIRST,
        link: LinkOptions = PATIENT,
        **options: Any,
    ) -> None:
        self.settled: list[PlacementRecord] = []
        self.outputs: list[Any] = []
        self._reuse, self._frames = reuse, moving_frames(FRAMES)
        given = OffloadOptions(payload="raw", stream="test", dispatch=dispatch, link=link)
        self.session = session_of(model, transport, reuse, replace(given, **options), self.settled.append)

    @property
    def records(self) -> list[PlacementRecord]:
        """Of all frames that were answered, settled or not, in order."""
        return [record for record, _ in self.outputs]

    def run(self, n: int = 1) -> PlacementRecord:
        """Runs frames; a frame that fails has no output. Returns the record of the last one."""
        for _ in range(n):
            frame = next(self._frames)
            try:
                output = self.session.run(frame)
            except FluxShardError as error:
                self.outputs.append((None, error))
                continue
            self.outputs.append((self.session.record, output))
        return self.session.record

    def run_until(self, condition: Callable[[PlacementRecord], bool], seconds: float = 20.0) -> PlacementRecord:
        """Runs frames until one is as wanted."""
        end = time.monotonic() + seconds
        while not condition(record := self.run()):
            assert time.monotonic() < end, record
        return record

    def resumed(self, after: PlacementRecord) -> PlacementRecord:
        """The first frame after another one that the server ran; it may have been a refresh, on a busy machine.

        Runs frames until the cloud answers one that is no keyframe.
        """
        self.run_until(lambda record: record.answered_by == "cloud" and not record.cloud_keyframe)
        return next(record for record in self.records if record.frame > after.frame and record.cloud_ran)

    def warm(self) -> None:
        """Runs frames until the cloud answers."""
        self.run()
        self.wait_open()
        self.run_until(lambda record: record.answered_by == "cloud")

    def wait_open(self, seconds: float = 20.0) -> None:
        until(lambda: self.session.link.is_open, seconds)

    def close(self) -> None:
        self.session.close()

    def check(self, model: LocalModel = MODEL) -> None:
        """Every output is that of a replay, bit for bit."""
        self.close()
        assert [record.frame for record in self.settled] == list(range(len(self.outputs)))
        replay = Replay(model.program, self._reuse, SIZE, sparse_image=True)
        for frame, (answered, output), record in zip(moving_frames(FRAMES), self.outputs, self.settled, strict=False):
            expected = replay.run(frame, record)
            if answered is not None:
                pairs = zip(tree_leaves(output), tree_leaves(expected), strict=True)
                assert all(torch.equal(a, b) for a, b in pairs), record


@contextmanager
def serving(*models: LocalModel, **options: Any) -> Iterator[StreamServer]:
    """A server for sessions of this process; all streams must have ended before it."""
    server = server_of(*(models or (MODEL,)), **options)
    try:
        yield server
        until(lambda: server.connected == 0 and server.queue_depth == 0)
        assert server.cached_bytes == 0
    finally:
        server.close()


def in_links(task: Coroutine[Any, Any, T]) -> T:
    """Runs something in the event loop of links and servers."""
    return LINKS.run(task).result(60)


def tasks_of_links() -> int:
    """Tasks in the event loop of links and servers."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return in_links(count())


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "that did not happen"
        time.sleep(0.002)


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * PAGE_BYTES


def peak_growth(use: Callable[[], None]) -> int:
    """Bytes by which resident memory rose at most while something ran, where the kernel tells; else what is left."""
    gc.collect()
    before, status = resident_bytes(), Path("/proc/self/status")
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        use()
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 - before
    use()
    return resident_bytes() - before
