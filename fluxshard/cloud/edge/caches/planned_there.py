"""The cache of a server that plans: the edge knows how old it is, and what the server said of the frames before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.edge.caches.server_cache import ServerWork
from fluxshard.cloud.edge.estimates import Estimates, Work
from fluxshard.cloud.edge.payload.sparse import Received
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.work_order import WorkOrder


class PlannedThere:
    """See `ServerCache`. The work of the next frame is guessed: as of the frames before, more for an older cache.

    Args:
      kinds: how many kinds of work latency is predicted from. They are guessed to be alike: shares of levels are within
        a few points of the share of all work.
      estimates: know the video's work.
    """

    plans = True

    def __init__(self, kinds: int, estimates: Estimates) -> None:
        self._kinds, self._estimates = kinds, estimates
        self._captured = 0
        self._ran: int | None = None  # the frame that the server ran last, among those that were captured

    def advance(self, motion: MotionField | None) -> None:
        """See `ServerCache.advance`; the server finds motion itself."""
        self._captured += 1

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Does nothing: the server focuses on what it finds itself."""

    def expect(self, image: Tensor) -> ServerWork:
        """See `ServerCache.expect`; looks at no pixel."""
        age = None if self._ran is None else self._captured - self._ran
        share = 1.0 if age is None else self._estimates.trend.at(age)
        return ServerWork(
            kinds=(share,) * self._kinds, share=share, order=WorkOrder(keyframe=False), age=age, captured=self._captured
        )

    def sent(self, work: ServerWork, received: Received | None) -> ServerWork:
        """See `ServerCache.sent`."""
        return work

    def commit(self, work: ServerWork) -> None:
        """See `ServerCache.commit`."""
        self._ran = work.captured

    def ran(self, work: ServerWork, result: pb.Result) -> Work:
        """See `ServerCache.ran`; of frames that were run whole, nothing is learnt."""
        if work.age is not None and not result.keyframe:
            self._estimates.trend = self._estimates.trend.after(work.age, result.compute_ratio)
        return (min(1.0, result.compute_ratio),) * self._kinds

    def reset(self) -> None:
        """See `ServerCache.reset`."""
        self._ran = None

    def glance(self, image: Tensor, motion: MotionField | None) -> None:
        """None: what the server's features stand for is not known here."""
