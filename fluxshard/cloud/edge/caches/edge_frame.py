"""A frame as the edge itself would run it: its image test is run once at most, and where its result can matter."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from fluxshard.cloud.edge.estimates import Estimates, Work
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.reuse.policy import Proposal

_LEAST = 0.5  # of the work that is likely: of eight clips, exponents of its growth differ by so much at 200 frames


class EdgeFrame:
    """The last frame that the edge's mirror was advanced by.

    Args:
      mirror: of the edge's cache.
      image: `(1, 3, H, W)` on the engine's device.
      estimates: learn what a test takes and gives.
      features: what latency is predicted from.
      kinds: how many these are.
    """

    def __init__(
        self, mirror: Mirror, image: Tensor, estimates: Estimates, features: Callable[[Proposal], Work], kinds: int
    ) -> None:
        self._mirror, self._image, self._estimates = mirror, image, estimates
        self._features, self._kinds = features, kinds
        self._proposal: Proposal | None = None
        self._age = mirror.age

    @property
    def proposal(self) -> Proposal | None:
        """What the edge would recompute; None while that was not tested."""
        return self._proposal

    @property
    def least(self) -> Work:
        """Work of every kind that the frame will hardly be below, before it is tested."""
        trend = self._estimates.trend
        share = 1.0 if self._mirror.is_fresh else 0.0 if trend.share is None else _LEAST * trend.at(self._age)
        return (share,) * self._kinds

    @property
    def work(self) -> Work:
        """Of every kind: as tested; else as much as the age of the cache makes likely."""
        if self._proposal is not None:
            return self._features(self._proposal)
        guess = 1.0 if self._mirror.is_fresh else self._estimates.trend.at(self._age)
        return (guess,) * self._kinds

    def least_ms(self) -> float | None:
        """What the edge will hardly take less than, with the test; None while nothing is known."""
        return self._with_test(self._estimates.edge.predict_ms(self.least))

    def expected_ms(self) -> float | None:
        """What the edge is expected to take from now on; None while nothing is known."""
        expected_ms = self._estimates.edge.predict_ms(self.work)
        return expected_ms if self._proposal is not None else self._with_test(expected_ms)

    def tested(self) -> Proposal:
        """What the edge would recompute."""
        if self._proposal is None:
            began = time.perf_counter()
            proposal = self._proposal = self._mirror.propose(self._image)
            keyframe = proposal.keyframe  # on a GPU, waits for the test
            self._estimates.edge_tested(1e3 * (time.perf_counter() - began))
            if not keyframe:
                self._estimates.trend = self._estimates.trend.after(self._age, proposal.predicted_work)
        return self._proposal

    def lose(self) -> None:
        """The edge has lost its cache: what was tested means nothing any more."""
        self._mirror.reset()
        self._proposal = None

    def commit(self) -> Proposal:
        """The edge is about to run the frame; tests it, where that was not done yet."""
        proposal = self.tested()
        self._mirror.commit(proposal)
        return proposal

    def _with_test(self, ms: float | None) -> float | None:
        return None if ms is None else ms + self._estimates.test_ms
