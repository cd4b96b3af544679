"""The cached input and the recompute set S_0 of propagated reuse, outside the engines; in torch, as the definition.

Source: the virtual layer 0 of the FluxShard paper, section III-B stage 2 and Eq. 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import StateError
from fluxshard.geometry import Grid
from fluxshard.options import InputMode
from fluxshard.runtime.level_motion import Motion, motion_of
from fluxshard.runtime.reuse import slot_map
from fluxshard.runtime.reuse.compare import gather, input_set
from fluxshard.runtime.reuse.displacement import displacement_field

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """Options of an input cache; see `ReuseOptions`.

    Attributes:
      tau: threshold on pixels.
      scene_cut: share of the pixels in S_0 above which the frame is a keyframe.
      mode: "assembled" feeds cached pixels outside S_0, "fresh" the whole frame.
      remap: False keeps the cache in the coordinates of the last keyframe.
    """

    tau: float
    scene_cut: float
    mode: InputMode
    remap: bool


class InputProposal(Protocol):
    """S_0 of a frame and the input that the network would read. Opaque to all but the cache and the engine beside it.

    On a GPU nothing has been waited for yet: reading waits. A proposal is good until the cache makes the next one:
    then, reading what has been overwritten raises StateError.
    """

    @property
    def keyframe(self) -> bool:
        """Everything is recomputed: asked for, or a scene cut."""
        ...

    @property
    def pixels(self) -> int:
        """|S_0|: pixels to recompute, and to send where the frame is offloaded."""
        ...

    def mask(self) -> Mask:
        """S_0, `(H, W)`, a copy."""
        ...


class InputCache(Protocol):
    """The cached input of one stream, F̂_0; `ReferenceInputCache` defines what it computes."""

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        ...

    def propose(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | None) -> InputProposal:
        """S_0 of a frame; nothing is changed until `commit`, and no layer is evaluated.

        Args:
          image: `(1, C, H, W)` float32, contiguous; only read.
          motion: from the frame that the cache stands for; None for zero displacement.
          keyframe: recompute everything; the first frame must be one.
          given: `(H, W)` pixels to recompute, in place of those that differ; pixels without a source are added.
        """
        ...

    def commit(self, proposal: InputProposal) -> None:
        """Takes the last proposal: from now on the cache stands for its frame.

        Raises:
          StateError: it is not the last proposal.
        """
        ...


MakeInputCache = Callable[[InputOptions], InputCache]  # makes the cache of a stream; `Engine.new_input_cache` is one


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceInput:
    """See `InputProposal`.

    Attributes:
      keyframe: everything is recomputed.
      changed: `(H, W)` S_0.
      fed: `(1, C, H, W)` what the network reads.
      previous: `(1, C, H, W)` what displacements point into: the cached input before the frame.
      cached: `(1, C, H, W)` the cached input once the proposal is committed.
    """

    keyframe: bool
    changed: Mask
    fed: Tensor
    previous: Tensor
    cached: Tensor

    @property
    def pixels(self) -> int:
        """See `InputProposal.pixels`."""
        return int(self.changed.sum())

    def mask(self) -> Mask:
        """See `InputProposal.mask`."""
        return self.changed.copy()


class ReferenceInputCache:
    """See `InputCache`.

    Args:
      image: the image's grid.
      channels: of the image.
      options: how to compare.
    """

    def __init__(self, image: Grid, channels: int, options: InputOptions) -> None:
        self._grid = image
        self._options = options
        self._cached: Tensor | None = None
        self._pending: InputProposal | None = None
        self.n_bytes = 4 * channels * image.cells

    def propose(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | None) -> ReferenceInput:
        """See `InputCache.propose`."""
        options, old = self._options, self._cached
        field = displacement_field(motion_of(motion, 0), self._grid, self._grid)
        keyframe = keyframe or old is None
        if not keyframe:
            assert old is not None
            changed = input_set(image, old, field, options.tau) if given is None else given | ~field.valid
            keyframe = bool(changed.sum() > options.scene_cut * changed.size)
        if keyframe or old is None:
            kept = image.clone()
            proposal = ReferenceInput(True, np.ones(field.valid.shape, np.bool_), kept, kept, kept)
        else:
            assembled = cached = torch.where(torch.from_numpy(changed), image, gather(old, field))
            if not options.remap:
                rows = slot_map.scatter_back(_rows(old), _rows(assembled), changed, field)
                cached = torch.from_numpy(rows.T.reshape(image.shape).copy())
            fed = image.clone() if options.mode == "fresh" else assembled
            proposal = ReferenceInput(False, changed, fed, old, cached)
        self._pending = proposal
        return proposal

    def commit(self, proposal: InputProposal) -> None:
        """See `InputCache.commit`."""
        pending, self._pending = self._pending, None
        if not isinstance(proposal, ReferenceInput) or pending is not proposal:
            raise stale_input()
        self._cached = proposal.cached


def stale_input() -> StateError:
    """The error of committing what is not the last proposal."""
    return StateError(
        "the proposal is not the last one of this stream: propose the frame again, and commit before the next proposal"
    )


def _rows(values: Tensor) -> NDArray[np.float32]:
    """`(1, C, H, W)` to `(H * W, C)`."""
    return np.ascontiguousarray(values[0].flatten(1).T.numpy())
