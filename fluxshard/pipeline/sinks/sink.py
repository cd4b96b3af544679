"""The protocol of sinks, and their view of a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import Detections
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.video import Frame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameView:
    """Pictures and outputs of a frame, beside its record. Valid until the next frame runs.

    Attributes:
      frame: as the video gave it: picture, image, letterbox, motion.
      found: detections in pixels of the picture; None where the head is not known.
      outputs: the structure that the network returns, on the CPU.
      work_map: computes the executed share around each 8-px cell of what the outputs describe, `(Hc, Wc)` float32.
    """

    frame: Frame
    found: Detections | None
    outputs: Any
    work_map: Callable[[], NDArray[np.float32]]


class FrameSink(Protocol):
    """A destination for frames, open from its construction until its context ends.

    A frame that was written stays, whatever fails later: the sink itself, another sink or the run.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the sink; an error that is on its way already is not replaced by one of closing."""
        ...

    def write(self, record: FrameRecord, view: FrameView) -> None:
        """Takes the next frame; returns when the operating system has it.

        Raises:
          FluxShardError, OSError: it cannot be written.
        """
        ...
