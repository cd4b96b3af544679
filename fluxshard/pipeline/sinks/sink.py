"""The protocol of sinks, and their view of a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import CroppedMask, Detections
from fluxshard.models.tasks.result import TaskResult
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.video import Frame


@dataclass(frozen=True, kw_only=True, eq=False)  # without slots, for `masks`
class FrameView:
    """Pictures and outputs of a frame, beside its record. The work map is valid until the next frame runs.

    Attributes:
      frame: as the video gave it: picture, image, letterbox, motion.
      found: detections in pixels of the picture; None where the head is not known.
      result: what the outputs say instead, in pixels of the picture; None where they say nothing, or have detections.
      outputs: the structure that the network returns, on the CPU.
      work_map: computes the executed share around each 8-px cell of what the outputs describe, `(Hc, Wc)` float32.
    """

    frame: Frame
    found: Detections | None
    outputs: Any
    work_map: Callable[[], NDArray[np.float32]]
    result: TaskResult | None = None

    @cached_property
    def masks(self) -> tuple[CroppedMask, ...] | None:
        """Masks of all that was found, see `Detections.mask`: computed once for all sinks. None without masks."""
        if self.found is None or self.found.masks is None:
            return None
        return tuple(self.found.mask(index) for index in range(len(self.found)))


class FrameSink(Protocol):
    """A destination for frames, open from its construction until its context ends.

    A frame that was written stays, whatever fails later: the sink itself, another sink or the run.
    """

    @property
    def shows_work(self) -> bool:
        """Whether it takes the work map of views."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the sink; an error that is on its way already is not replaced by one of closing."""
        ...

    def prepare(self, record: FrameRecord, view: FrameView) -> Callable[[], None]:
        """Makes what will be written of the next frame, and returns what writes it.

        Frames are prepared in their order, and written in their order. Both take turns of their own: a frame may be
        prepared in one thread while the one before it is written in another.

        Raises:
          FluxShardError, OSError: from what is returned: it cannot be written.
        """
        ...

    def write(self, record: FrameRecord, view: FrameView) -> None:
        """Prepares the next frame and writes it; returns when the operating system has it.

        Raises:
          FluxShardError, OSError: it cannot be written.
        """
        ...
