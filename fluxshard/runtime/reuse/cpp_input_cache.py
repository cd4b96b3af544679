"""The input cache as a generated program, bit-equal with `ReferenceInputCache`: one call a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError
from fluxshard.runtime.level_motion import Motion, motion_of
from fluxshard.runtime.reuse.input_cache import InputOptions, InputProposal, Mask, stale_input


class InputProgram(Protocol):
    """The loaded program of an input cache; `codegen.cpp.input_cache.InputCacheLibrary` is one."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...

    def new_state(self) -> NDArray[np.uint8]:
        """A stream's state before its first frame."""
        ...

    def new_args(self) -> Any:
        """An empty argument block."""
        ...

    def propose(self, args: Any) -> None:
        """Computes S_0 and the assembled input of a frame."""
        ...

    def commit(self, args: Any) -> None:
        """Takes the last proposal."""
        ...


@dataclass(slots=True)
class Latest:
    """Counts the proposals of a cache."""

    serial: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CppInput:
    """See `InputProposal`. Addresses are those of the cache's state and stay valid until the next proposal.

    Attributes:
      keyframe: everything is recomputed.
      pixels: |S_0|.
      changed: `(H, W)` S_0, a view of the state.
      fed: address of the pixels that the network reads, `(H, W, channels in steps of 4)` float32.
      dy, dx, valid, source: addresses of the displacement field of the image's grid; not written where it is `still`.
      still: nothing moves and everything is valid.
      serial: number of this proposal.
      latest: the number of the last one: the state is as this proposal left it while they are equal.
      alive: keeps what the addresses point to.
    """

    keyframe: bool
    pixels: int
    changed: Mask
    fed: int
    dy: int
    dx: int
    valid: int
    source: int
    still: bool
    serial: int
    latest: Latest
    alive: tuple[object, ...]

    def mask(self) -> Mask:
        """See `InputProposal.mask`."""
        if self.serial != self.latest.serial:
            raise stale_input()
        return self.changed.copy()


class CppInputCache:
    """See `InputCache`, and `ReferenceInputCache` for what it computes.

    Args:
      program: generated for the image's size.
      options: how to compare.
    """

    def __init__(self, program: InputProgram, options: InputOptions) -> None:
        self._program = program
        self._options = options
        self._state = program.new_state()
        self._has_keyframe = False
        self._pending: CppInput | None = None
        self._latest = Latest()
        self._args = args = program.new_args()
        self.n_bytes = self._state.nbytes
        args.state = self._state.ctypes.data
        args.remap, args.fresh = options.remap, options.mode == "fresh"
        args.tau, args.scene_cut = options.tau, options.scene_cut

    def memory(self) -> tuple[NDArray[np.uint8], ...]:
        """See `parking.HoldsMemory`."""
        return (self._state,)

    def propose(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | None) -> CppInput:
        """See `InputCache.propose`.

        Raises:
          ShapeError: an image or motion field of another shape or type than the program is for.
        """
        channels, height, width = self._program.image_shape
        if tuple(image.shape) != (1, channels, height, width) or image.dtype != torch.float32:
            raise ShapeError(
                f"image is {tuple(image.shape)} {image.dtype}; expected {(1, channels, height, width)} torch.float32"
            )
        args = self._args
        pixels = image.detach().contiguous()
        args.image, args.threads = pixels.data_ptr(), torch.get_num_threads()
        args.keyframe = keyframe or not self._has_keyframe
        args.motion = args.known = args.given = None
        motion = motion_of(motion, 0)
        if motion is not None:
            motion.check_covers(height, width)
            args.motion, args.known = motion.displacement.ctypes.data, motion.valid.ctypes.data
            args.cell_px, args.motion_columns = motion.cell_px, motion.valid.shape[1]
        cells = None if given is None else np.ascontiguousarray(given, np.bool_)
        if cells is not None:
            args.given = cells.ctypes.data
        self._program.propose(args)
        self._latest.serial += 1
        offset = args.mask - self._state.ctypes.data
        changed = self._state[offset : offset + height * width].view(np.bool_).reshape(height, width)
        self._pending = CppInput(
            keyframe=bool(args.took_keyframe), pixels=int(args.pixels), changed=changed, fed=args.fed, dy=args.dy,
            dx=args.dx, valid=args.valid, source=args.source, still=bool(args.still),
            serial=self._latest.serial, latest=self._latest,
            alive=(self._state, pixels, motion, cells),
        )  # fmt: skip
        return self._pending

    def commit(self, proposal: InputProposal) -> None:
        """See `InputCache.commit`."""
        pending, self._pending = self._pending, None
        if pending is None or pending is not proposal:
            raise stale_input()
        self._program.commit(self._args)
        self._has_keyframe = True
