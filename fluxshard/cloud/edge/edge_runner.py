"""The edge's own engine, in a thread: a frame may be answered by the server while it still runs here."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fluxshard.runtime.endpoints.engine_stream import EngineStream, Ran
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.runtime.stream import Program


class EdgeRunner:
    """Runs frames of one stream, one at a time. `close` it.

    The thread is always the same one: every thread that computes has a pool of its own to wake.

    Args:
      program: for the stream's size of image.
      wake: called when a frame is done.
      given: as for `Engine.new_state`.
    """

    def __init__(self, program: Program, wake: Callable[[], None], *, given: bool = False) -> None:
        self._stream = EngineStream(program, given=given)
        self.device = program.engine.torch_device
        """Where the engine takes images."""
        self._executor = ThreadPoolExecutor(1, "fluxshard-edge")
        self._wake = wake
        self._future: Future[Ran] | None = None
        self.began = 0.0
        """When the last frame was started, on the monotonic clock."""

    @property
    def n_bytes(self) -> int:
        """Memory of the cached features."""
        return self._stream.n_bytes

    @property
    def is_running(self) -> bool:
        """A frame is not done yet."""
        return self._future is not None and not self._future.done()

    def work_map(self) -> NDArray[np.float32]:
        """See `Session.work_map`."""
        self.wait()
        return self._stream.work_map()

    def start(self, proposal: Proposal) -> Future[Ran]:
        """Starts a frame that was committed; the one before must be done."""
        self.began = time.monotonic()
        self._future = self._executor.submit(self._stream.run, proposal.image, proposal.motion, proposal.control)
        self._future.add_done_callback(lambda _: self._wake())
        return self._future

    def wait(self) -> None:
        """Waits for the last frame; its error, if any, was for whoever asked for it."""
        if self._future is not None:
            self._future.exception()

    def close(self) -> None:
        """Waits for the last frame and ends the thread."""
        self._executor.shutdown(wait=True)
