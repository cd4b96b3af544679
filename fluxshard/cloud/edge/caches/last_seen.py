"""What has changed since the last frame that was answered, for results that are moved; where the server plans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.planned.planner import Planner
from fluxshard.runtime.stream import Program
from fluxshard.video.motion.motion_since import MotionSince

Mask = NDArray[np.bool_]


class LastSeen:
    """Compares frames with the last one that was answered, at the coarsest level of the image test.

    Whether a result still holds depends on the frame that it is of, not on what a cache stands for: so that frame is
    what is kept, whole, whoever ran it. Costs nothing until somebody asks.

    Args:
      program: of the stream.
      reuse: planned.
    """

    def __init__(self, program: Program, reuse: ReuseOptions) -> None:
        self._program, self._reuse = program, reuse
        self._planner: Planner | None = None  # once somebody has asked
        self._since = MotionSince(program.engine.plan.image_size)
        self._has_frame = False
        self._changed: Mask | None = None

    def advance(self, motion: MotionField | None) -> None:
        """Takes a captured frame; `motion` is since the one before."""
        self._since.add(motion)

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes where the objects of the last answered frame are."""
        if self._planner is not None and self._has_frame:
            self._planner.focus(regions)

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """See `Session.glance`, of a cache that has the last answered frame whole; None before there is one."""
        planner = self._wanted()
        return planner.glance(image, motion) if self._has_frame else None

    def changed(self) -> Mask | None:
        """The same of the last answered frame and the one before it; None where there is none, or everything has."""
        self._wanted()
        return self._changed

    def take(self, image: Tensor) -> None:
        """Takes a frame that is going to be answered.

        Args:
          image: `(1, 3, H, W)`.
        """
        planner = self._planner
        if planner is not None:
            self._changed = planner.glance(image, self._since.motion) if self._has_frame else None
            self._has_frame = planner.commit(planner.whole(), image)
        self._since.restart()

    def _wanted(self) -> Planner:
        if self._planner is None:
            program, reuse = self._program, self._reuse
            self._planner = Planner(program.engine.plan, reuse.planned, reuse.scene_cut, program.make_test)
        return self._planner
