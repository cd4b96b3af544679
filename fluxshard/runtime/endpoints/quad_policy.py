"""Propagated reuse whose recompute sets are whole quads, as they travel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.quads import quads
from fluxshard.runtime.engines.engine import Mask
from fluxshard.runtime.parking import Bytes
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.runtime.reuse.propagated import PropagatedPolicy


class QuadPolicy:
    """See `WorkPolicy`; the policy of an endpoint that is told its work.

    Args:
      inner: decides which pixels differ; nobody else may use it.
    """

    def __init__(self, inner: PropagatedPolicy) -> None:
        self._inner = inner

    @property
    def n_bytes(self) -> int:
        """See `WorkPolicy.n_bytes`."""
        return self._inner.n_bytes

    def memory(self) -> tuple[Bytes, ...]:
        """See `WorkPolicy.memory`."""
        return self._inner.memory()

    @property
    def is_fresh(self) -> bool:
        """See `WorkPolicy.is_fresh`."""
        return self._inner.is_fresh

    def propose(self, image: Tensor, motion: MotionField | None) -> Proposal:
        """See `WorkPolicy.propose`."""
        asked = self._inner.propose(image, motion)
        if asked.keyframe:
            return asked
        return self._inner.propose_given(image, motion, {0: quads(asked.input_mask())})

    def propose_given(self, image: Tensor, motion: MotionField | None, work: Mapping[int, Mask]) -> Proposal:
        """See `WorkPolicy.propose_given`."""
        return self._inner.propose_given(image, motion, work)

    def commit(self, proposal: Proposal) -> None:
        """See `WorkPolicy.commit`."""
        self._inner.commit(proposal)

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """See `WorkPolicy.focus`."""
        self._inner.focus(regions)

    def reset(self) -> None:
        """See `WorkPolicy.reset`."""
        self._inner.reset()
