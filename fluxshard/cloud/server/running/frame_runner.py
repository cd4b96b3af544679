"""The seam between a stream's messages and what runs its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fluxshard.cloud.server.images import Mask
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.engine_stream import Ran
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.runtime.level_motion import Motion

NO_CACHE, OTHER_BASE = "nothing is cached", "another frame is cached"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameWork:
    """What the head of a frame says of its work.

    Attributes:
      order: the work; where the server plans, only whether everything is to be computed anew.
      motion: since the frame that it builds on; None for zero displacement, or where the server finds it itself.
    """

    order: WorkOrder
    motion: Motion | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RanFrame:
    """A frame that was run.

    Attributes:
      ran: what the engine did.
      answer: as bytes; empty where none was wanted.
      answer_ms: to make it from the outputs.
      plan_ms: to decide what is recomputed, where the server does.
    """

    ran: Ran
    answer: bytes
    answer_ms: float
    plan_ms: float = 0.0


class FrameRunner(Protocol):
    """Runs the frames of one stream, one at a time. For one event loop, but for the tasks that it makes."""

    def read(self, frame: pb.Frame) -> FrameWork:
        """The work of a frame that arrives.

        Raises:
          WireError: such a head is not allowed.
        """
        ...

    def needs_key(self, frame: pb.Frame) -> str:
        """Why the frame cannot be run on what is cached; empty where it can."""
        ...

    def mask(self, work: FrameWork) -> Mask:
        """S_0 of a frame; takes a while, and is called in a thread."""
        ...

    def start(self) -> int:
        """Takes the memory of the stream, if it has none; returns how many bytes that is while a frame runs."""
        ...

    def park(self) -> int | None:
        """Packs the stream away until its next frame, in any thread; no task runs meanwhile.

        Returns:
          bytes that it takes now; None where there is nothing to pack, or it cannot be.
        """
        ...

    def task(
        self, frame: pb.Frame, work: FrameWork, image: Tensor, motion: MotionField | None
    ) -> Callable[[], RanFrame]:
        """What runs a frame, in any thread; the stream was started.

        Args:
          frame: its head.
          work: what `read` made of it.
          image: `(1, 3, H, W)` uint8.
          motion: of the video since the frame that was run last; None where it is unknown, or comes with the head.
        """
        ...

    def ran(self, frame: pb.Frame) -> None:
        """The frame's task is done: it is what is cached now."""
        ...

    def interrupt(self) -> None:
        """The video was interrupted."""
        ...

    def free(self) -> None:
        """Gives the memory back; a task that runs keeps it until its end."""
        ...
