"""The seam between a session and what decides a frame's work: propose, then commit.

A proposal says what a frame would recompute, before any layer runs. Proposing changes nothing, so a dispatcher may
propose for two endpoints and let one of them run. Source: section III-B, stages 2 and 3 of the FluxShard paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField
from fluxshard.runtime.engines.engine import Mask, StepControl
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.parking import Bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proposal:
    """The work of a frame before it runs. Reading it waits for a GPU where the decision is made there.

    Attributes:
      image: `(1, C, H, W)` what the engine is given.
      motion: from the frame that the stream's cache stands for; None for zero displacement. Levels may have chosen
        their own.
      control: how the engine would run the frame.
      grid_cells: pixels of the image, or of the canvas.
    """

    image: Tensor
    motion: Motion | None
    control: StepControl
    grid_cells: int

    def __repr__(self) -> str:
        size = "x".join(map(str, self.image.shape[2:]))
        return f"{type(self).__name__}({size} px{', keyframe' if self.keyframe else ''})"

    @property
    def keyframe(self) -> bool:
        """Everything is recomputed."""
        return self.control.keyframe if self.control.input is None else self.control.input.keyframe

    @property
    def input_cells(self) -> int:
        """|S_0|: pixels to recompute, and to send where the frame is offloaded."""
        if self.control.input is not None:
            return self.control.input.pixels
        return int(self.input_mask().sum())

    @property
    def predicted_work(self) -> float:
        """Work that latency is predicted from, as a fraction 0..1.

        Propagated reuse: |S_0| over all pixels, since deeper work is not known before the layers have run. Planned
        reuse: multiply-accumulates over those of the engine's network, exactly what the engine then does.
        """
        return self.input_cells / self.grid_cells

    def input_mask(self) -> Mask:
        """S_0, `(H, W)` bool, a copy; all True for a keyframe."""
        if self.control.input is not None:
            return self.control.input.mask()
        if self.control.work is None:
            return np.ones(tuple(self.image.shape[2:]), np.bool_)
        return self.control.work[0].copy()


class WorkPolicy(Protocol):
    """Decides the work of one stream's frames. A stream begins with a keyframe, and does so anew after `reset`."""

    @property
    def n_bytes(self) -> int:
        """Memory that it keeps between frames, beside the engine's."""
        ...

    def memory(self) -> tuple[Bytes, ...]:
        """Blocks of what it keeps that can be packed away while the stream is idle (`parking.HoldsMemory`)."""
        ...

    @property
    def is_fresh(self) -> bool:
        """The next frame is a keyframe, and motion means nothing."""
        ...

    def propose(self, image: Tensor, motion: MotionField | None) -> Proposal:
        """What a frame would recompute; evaluates no layer and changes nothing.

        Args:
          image: `(1, C, H, W)` float32, contiguous, or uint8, of any strides, on the engine's device; only read.
          motion: from the frame committed last; None for zero displacement.
        """
        ...

    def propose_given(self, image: Tensor, motion: MotionField | None, work: Mapping[int, Mask]) -> Proposal:
        """The same for given work: `(H, W)` bool per index of `Plan.grids`; grids left out follow the values."""
        ...

    def commit(self, proposal: Proposal) -> None:
        """Takes the last proposal: the engine runs its frame next.

        Raises:
          StateError: it is not the last proposal, or regions were given after it.
        """
        ...

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the 8-px cells of the last frame hold: `(ceil(H / 8), ceil(W / 8))`."""
        ...

    def reset(self) -> None:
        """Forgets all frames, so that the next is a keyframe: the stream starts anew, or a frame failed."""
        ...
