"""Propagated reuse: S_0 is found from the image, and every layer's work from the values of the layers before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.ir.plan import Plan
from fluxshard.motion import MotionField, accumulate
from fluxshard.options import ReuseOptions
from fluxshard.runtime.engines.engine import Mask, StepControl
from fluxshard.runtime.level_motion import motion_of
from fluxshard.runtime.parking import Bytes, memory_of
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.reuse.input_cache import InputOptions, MakeInputCache
from fluxshard.runtime.reuse.policy import Proposal


class PropagatedPolicy:
    """See `WorkPolicy`. Source: Eq. 15 and 16 of the FluxShard paper.

    Args:
      plan: of the network.
      reuse: thresholds and ablations.
      tau: threshold of every layer, in plan order.
      make_cache: makes the input cache.
    """

    def __init__(self, plan: Plan, reuse: ReuseOptions, tau: tuple[float, ...], make_cache: MakeInputCache) -> None:
        self._plan = plan
        self._reuse = reuse
        self._tau = tau
        options = InputOptions(tau=reuse.tau_input, scene_cut=reuse.scene_cut, mode=reuse.input_mode, remap=reuse.remap)
        self._cache = make_cache(options)
        self._pixels = PixelValues(*reuse.planned.pixel_range)
        self._fresh = True  # the next frame must be a keyframe
        self._since_keyframe: MotionField | None = None  # accumulated motion, for remap=False

    @property
    def n_bytes(self) -> int:
        """See `WorkPolicy.n_bytes`."""
        return self._cache.n_bytes

    def memory(self) -> tuple[Bytes, ...]:
        """See `WorkPolicy.memory`."""
        return memory_of(self._cache)

    @property
    def is_fresh(self) -> bool:
        """See `WorkPolicy.is_fresh`."""
        return self._fresh

    def propose(self, image: Tensor, motion: MotionField | None) -> Proposal:
        """See `WorkPolicy.propose`."""
        work = None
        if self._reuse.execution == "dense" and not self._fresh:
            work = {
                index: np.ones((grid.height, grid.width), np.bool_)
                for index, grid in enumerate(self._plan.grids)
                if index > 0
            }
        return self._propose(image, motion, work)

    def propose_given(self, image: Tensor, motion: MotionField | None, work: Mapping[int, Mask]) -> Proposal:
        """See `WorkPolicy.propose_given`."""
        return self._propose(image, motion, dict(work))

    def commit(self, proposal: Proposal) -> None:
        """See `WorkPolicy.commit`."""
        assert proposal.control.input is not None
        self._cache.commit(proposal.control.input)
        self._fresh = False
        if not self._reuse.remap:
            self._since_keyframe = None if proposal.keyframe else motion_of(proposal.motion, 0)

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Does nothing: propagated reuse has one threshold everywhere."""

    def reset(self) -> None:
        """See `WorkPolicy.reset`."""
        self._fresh, self._since_keyframe = True, None

    def _propose(self, image: Tensor, motion: MotionField | None, work: dict[int, Mask] | None) -> Proposal:
        image = self._pixels.floats(image)  # pixels are compared, and kept, as the network reads them
        motion = None if self._fresh else self._since_cache(motion, image)
        given = self._cache.propose(image, motion, keyframe=self._fresh, given=None if work is None else work.get(0))
        control = StepControl(
            keyframe=self._fresh, rfap=self._reuse.rfap, remap=self._reuse.remap, tau=self._tau, work=work, input=given,
            pixels=self._pixels,
        )  # fmt: skip
        return Proposal(image=image, motion=motion, control=control, grid_cells=self._plan.grids[0].cells)

    def _since_cache(self, motion: MotionField | None, image: Tensor) -> MotionField | None:
        """Motion since the frame whose coordinates the cache has: the last one, or without remapping the keyframe."""
        if self._reuse.remap:
            return motion
        if motion is None:
            return self._since_keyframe
        height, width = image.shape[2:]
        earlier = self._since_keyframe or MotionField.zero(height, width, motion.cell_px)
        return accumulate(earlier, motion, height, width)
