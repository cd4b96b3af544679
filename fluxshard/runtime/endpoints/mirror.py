"""An endpoint's cache as the edge sees it: what each frame would recompute there, though frames may run elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import CELL_PX, MotionField, accumulate
from fluxshard.runtime.planned.policy import PlannedPolicy, PlannedProposal
from fluxshard.runtime.reuse.policy import Proposal, WorkPolicy


class Mirror:
    """Follows one endpoint: its policy's state, and the motion since the frame that it ran last.

    A captured frame is `advance`, then `propose` as often as wanted, and `commit` where this endpoint ran it. Frames
    that ran elsewhere are only advanced, so the next proposal compares with what the endpoint really has.

    Source: the dispatch states of the FluxShard paper, section III-B stage 1 and Eq. 15.

    Args:
      policy: of this endpoint; nobody else may use it.
      size: (H, W) of the images in pixels.
    """

    def __init__(self, policy: WorkPolicy, size: tuple[int, int]) -> None:
        self._policy = policy
        self._size = size
        self._since: MotionField | None = None  # since the frame that was committed last; None: nothing moved
        self.age = 0
        """Captured frames since the last one that this endpoint ran; 0 right after it."""

    @property
    def is_fresh(self) -> bool:
        """The endpoint has no cache: its next frame is a keyframe."""
        return self._policy.is_fresh

    @property
    def since(self) -> MotionField | None:
        """Motion since the frame that this endpoint ran last; None where nothing moved, or nothing has run."""
        return self._since

    def advance(self, motion: MotionField | None) -> None:
        """Takes a captured frame's motion.

        Args:
          motion: from the frame captured before; None for zero displacement.

        Raises:
          ShapeError: the field has other cells than those before.
        """
        self.age += 1
        if motion is None or self._policy.is_fresh:
            return
        earlier = self._since or MotionField.zero(*self._size, motion.cell_px)
        self._since = accumulate(earlier, motion, *self._size)

    def lose(self) -> None:
        """Takes a captured frame whose motion is unknown: everything since the last commit is."""
        self.age += 1
        if not self._policy.is_fresh:
            since = self._since or MotionField.zero(*self._size, CELL_PX)
            self._since = MotionField(since.displacement, np.zeros_like(since.valid), since.cell_px)

    def propose(self, image: Tensor) -> Proposal:
        """What the endpoint would recompute of the frame that was advanced last; changes nothing.

        Args:
          image: `(1, C, H, W)` uint8, or float32, contiguous.
        """
        return self._policy.propose(image, self._since)

    def glance(self, image: Tensor, motion: MotionField | None) -> NDArray[np.bool_] | None:
        """See `Session.glance`; for an endpoint that has run the frame that was answered last.

        Args:
          image: as for `propose`.
          motion: since that frame; what was advanced is not added.
        """
        return self._policy.glance(image, motion) if isinstance(self._policy, PlannedPolicy) else None

    def propose_seen(self, image: Tensor, proposal: Proposal) -> Proposal:
        """The same work on an image as the endpoint sees it, where a lossy payload has changed it.

        Propagated reuse compares with cached pixels, so these have to be what the endpoint has. Planned reuse compares
        with what the shards were computed from; there, an encoder's noise must not count as a change, so the proposal
        stays as it is.

        Args:
          image: `(1, C, H, W)` uint8, or float32, contiguous; right in S_0.
          proposal: the last one.
        """
        if isinstance(proposal, PlannedProposal):
            return proposal
        if proposal.keyframe:
            self._policy.reset()  # a cut on the frame has to be a cut on what is left of it, too
            return self._policy.propose(image, None)
        return self._policy.propose_given(image, self._since, {0: proposal.input_mask()})

    def commit(self, proposal: Proposal) -> None:
        """The endpoint ran, or is running, the proposed frame.

        Raises:
          StateError: it is not the last proposal.
        """
        self._policy.commit(proposal)
        self._since, self.age = None, 0

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes where the objects of the last answered frame are; both endpoints get the same."""
        self._policy.focus(regions)

    def reset(self) -> None:
        """The endpoint has lost its cache."""
        self._policy.reset()
        self._since, self.age = None, 0
