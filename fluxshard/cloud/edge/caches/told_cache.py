"""The cache of a server that is told its work: the edge mirrors it, and runs its image test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.edge.caches.server_cache import ServerWork
from fluxshard.cloud.edge.estimates import Estimates, Work
from fluxshard.cloud.edge.payload.sparse import Received
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.work_order import WorkOrders
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.video.letterbox import to_planes


class ToldCache:
    """See `ServerCache`.

    Args:
      mirror: of the server's cache.
      orders: of the stream.
      features: what latency is predicted from.
      estimates: learn what tests find.
    """

    plans = False

    def __init__(
        self, mirror: Mirror, orders: WorkOrders, features: Callable[[Proposal], Work], estimates: Estimates
    ) -> None:
        self._mirror, self._orders, self._features, self._estimates = mirror, orders, features, estimates

    def advance(self, motion: MotionField | None) -> None:
        """See `ServerCache.advance`."""
        self._mirror.advance(motion)

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """See `ServerCache.focus`."""
        self._mirror.focus(regions)

    def expect(self, image: Tensor) -> ServerWork:
        """See `ServerCache.expect`; runs the image test."""
        work = self._work(self._mirror.propose(image))
        if not work.order.keyframe:
            self._estimates.trend = self._estimates.trend.after(self._mirror.age, work.share)
        return work

    def sent(self, work: ServerWork, received: Received | None) -> ServerWork:
        """See `ServerCache.sent`: the mirror takes what the server will have, not what the camera saw."""
        if received is None:
            return work
        assert work.proposal is not None
        seen = self._mirror.propose_seen(to_planes(received.pixels), work.proposal)
        return replace(work, proposal=seen, pixels=seen.input_cells)

    def commit(self, work: ServerWork) -> None:
        """See `ServerCache.commit`."""
        assert work.proposal is not None
        self._mirror.commit(work.proposal)

    def ran(self, work: ServerWork, result: pb.Result) -> Work:
        """See `ServerCache.ran`: the server has done what it was told."""
        return work.kinds

    def reset(self) -> None:
        """See `ServerCache.reset`."""
        self._mirror.reset()

    def glance(self, image: Tensor, motion: MotionField | None) -> NDArray[np.bool_] | None:
        """See `ServerCache.glance`."""
        return self._mirror.glance(image, motion)

    def _work(self, proposal: Proposal) -> ServerWork:
        return ServerWork(
            kinds=self._features(proposal), share=proposal.predicted_work, order=self._orders.of(proposal),
            motion=proposal.motion, pixels=proposal.input_cells, proposal=proposal, age=self._mirror.age,
        )  # fmt: skip
