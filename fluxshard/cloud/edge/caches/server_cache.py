"""The seam between a stream and who decides what the server recomputes: the edge, or the server itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.edge.estimates import Work
from fluxshard.cloud.edge.payload.sparse import Received
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.reuse.policy import Proposal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServerWork:
    """What the server will do of a frame, as far as it is known before.

    Attributes:
      kinds: what latency is predicted from.
      share: of all work, 0..1.
      order: what it is told.
      motion: that it is told; None for zero displacement, and where it finds it itself.
      pixels: of S_0, which go up where the payload is made of pixels.
      proposal: of the edge; None where the server plans.
      age: of its cache in captured frames; None where nothing is cached.
      captured: number of the frame among those that were captured.
    """

    kinds: Work
    share: float
    order: WorkOrder
    motion: Motion | None = None
    pixels: int = 0
    proposal: Proposal | None = None
    age: int | None = None
    captured: int = 0


class ServerCache(Protocol):
    """What the server has cached, as the edge knows it. A captured frame is `advance`, then at most once `expect`."""

    @property
    def plans(self) -> bool:
        """The server decides itself what to recompute, so that nothing need be assumed of a frame under way."""
        ...

    def advance(self, motion: MotionField | None) -> None:
        """Takes a captured frame; `motion` is since the one before, None for zero displacement."""
        ...

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes where the objects of the last answered frame are."""
        ...

    def expect(self, image: Tensor) -> ServerWork:
        """What the server would do of the last frame, `(1, 3, H, W)`."""
        ...

    def sent(self, work: ServerWork, received: Received | None) -> ServerWork:
        """The same after encoding, where the server gets other pixels than the camera saw; None: it does not."""
        ...

    def commit(self, work: ServerWork) -> None:
        """The server has run the frame, or is assumed to."""
        ...

    def ran(self, work: ServerWork, result: pb.Result) -> Work:
        """The server has run the frame, and says so; returns the work that its time was for."""
        ...

    def reset(self) -> None:
        """The server has nothing cached any more."""
        ...

    def glance(self, image: Tensor, motion: MotionField | None) -> NDArray[np.bool_] | None:
        """See `Session.glance`; None where the edge does not know what is cached."""
        ...
