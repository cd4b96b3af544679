"""The image test of planned reuse as a generated program, bit-equal with `ReferenceImageTest`: one call a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError, StateError
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import OBJECT, SMALL_OBJECT, PlannedOptions
from fluxshard.runtime.level_motion import LevelMotion
from fluxshard.runtime.planned.levels import Level, level_of_grids
from fluxshard.runtime.planned.proposal import ShardProposal, stale_proposal

Mask = NDArray[np.bool_]


class ImageTestProgram(Protocol):
    """The loaded program of an image test; `codegen.cpp.image_test.ImageTestLibrary` is one."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each level's mask; the masks lie one after another."""
        ...

    def new_state(self) -> NDArray[np.uint8]:
        """A stream's state before its first frame."""
        ...

    def new_args(self) -> Any:
        """An empty argument block."""
        ...

    def keyframe(self, args: Any) -> bool:
        """Takes an image that was computed whole; whether it is finite."""
        ...

    def propose(self, args: Any) -> bool:
        """Writes the masks of a frame; False where its image is not finite. Only scratch of the state is written."""
        ...

    def glance(self, args: Any) -> bool:
        """The same for the last level alone, whose mask is all that is written."""
        ...

    def commit(self, args: Any) -> None:
        """Takes the last proposal; `args` are those of `propose`, with everything that they point to."""
        ...


@dataclass(frozen=True, slots=True)
class _Pending:
    """The last proposal, and what the program's arguments point to until it is committed."""

    proposal: ShardProposal
    alive: tuple[object, ...]


class CppImageTest:
    """State of the image test of one stream; see `ImageTest`, and `ReferenceImageTest` for what it computes.

    Args:
      program: generated from the same image, levels and grids.
      levels: of the plan, for their thresholds.
      options: thresholds and times.

    Raises:
      ValueError: the program is for other levels.
    """

    def __init__(self, program: ImageTestProgram, levels: Sequence[Level], options: PlannedOptions) -> None:
        channels, height, width = program.image_shape
        shapes = tuple((cells(height, level.shard_px), cells(width, level.shard_px)) for level in levels)
        if shapes != program.shapes:
            raise ValueError(f"levels have masks of {shapes}; the program is for {program.shapes}: build it from these")
        self._program = program
        self._shape = 1, channels, height, width
        self._options = options
        self._state = program.new_state()
        self._hold = np.zeros((2, cells(height, CELL_PX), cells(width, CELL_PX)), np.uint8)
        self._reach = max((side for shape in shapes for side in shape), default=0)
        self._taus = _thresholds(levels, self._reach)
        self._level_of = level_of_grids(levels)
        self._has_keyframe = False
        self._pending: _Pending | None = None
        self._args = args = program.new_args()
        low, high = options.pixel_range
        args.state, args.hold, args.taus = (one.ctypes.data for one in (self._state, self._hold, self._taus))
        args.low, args.scale = np.float32(low), np.float32(255 / (high - low))
        args.margin_cells = min(cells(options.margin_px, CELL_PX), max(self._hold.shape[1:]))
        args.candidates = options.candidates
        args.wait_frames, args.refresh_frames = options.wait_frames, options.refresh_frames

    def keyframe(self, image: Tensor) -> bool:
        """See `ImageTest.keyframe`.

        Raises:
          ShapeError: an image of another shape or type than the program is for.
        """
        self._pending = None
        pixels, finite = self._take(image)
        finite &= self._program.keyframe(self._args)
        del pixels  # until here the program has read them
        self._has_keyframe = True
        return finite

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """See `ImageTest.focus`: `(ceil(H / 8), ceil(W / 8))` of `OBJECT`, `SMALL_OBJECT` or 0."""
        self._pending = None
        self._args.has_regions = True
        objects, small = self._hold
        objects[regions >= OBJECT] = self._options.hold_frames
        small[regions == SMALL_OBJECT] = self._options.hold_frames

    def set_levels(self, levels: Sequence[Level]) -> None:
        """See `ImageTest.set_levels`."""
        self._pending = None
        self._taus[:] = _thresholds(levels, self._reach)

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        """See `ImageTest.propose`; the masks are views of one array that is new for every proposal.

        Raises:
          ShapeError: an image or a motion field of another shape or type than the program is for.
          StateError: there was no keyframe.
        """
        args, shapes = self._args, self._program.shapes
        masks = np.empty(sum(rows * columns for rows, columns in shapes), np.bool_)
        pixels, finite, chosen = self._compare(image, motion, masks)
        if not finite or not self._program.propose(args):
            return None
        ends = np.cumsum([rows * columns for rows, columns in shapes], dtype=np.int64).tolist()
        starts = [0, *ends][: len(ends)]
        shards = [masks[start:end].reshape(shape) for start, end, shape in zip(starts, ends, shapes, strict=True)]
        proposal = ShardProposal(tuple(shards), self._level_motion(*chosen) if chosen and args.strays else None)
        self._pending = _Pending(proposal, (pixels, masks, motion, chosen))
        return proposal

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """See `ImageTest.glance`.

        Raises:
          ShapeError, StateError: as `propose`.
        """
        mask = np.empty(self._program.shapes[-1] if self._program.shapes else (0, 0), np.bool_)
        pixels, finite, _ = self._compare(image, motion, mask)
        finite = finite and self._program.glance(self._args)
        del pixels  # until here the program has read them
        return mask if finite else None

    def commit(self, proposal: ShardProposal) -> None:
        """See `ImageTest.commit`."""
        pending, self._pending = self._pending, None
        if pending is None or pending.proposal is not proposal:
            raise stale_proposal()
        self._program.commit(self._args)

    def _compare(
        self, image: Tensor, motion: MotionField | None, masks: Mask
    ) -> tuple[Tensor, bool, tuple[NDArray[np.int16], Mask] | None]:
        """Fills the arguments for a frame; what is returned has to live until the program has read it.

        Returns:
          the pixels, whether they may be tested, and where the program writes how levels move; None where nothing does.
        """
        if not self._has_keyframe:
            raise StateError("the image test has no frame to compare with: call keyframe() first")
        if motion is not None:
            motion.check_covers(*self._shape[2:])
        self._pending = None
        args = self._args
        pixels, finite = self._take(image)
        args.masks = masks.ctypes.data
        args.motion = args.known = args.moved = args.sourced = None
        if motion is None:
            return pixels, finite, None
        args.motion, args.known = motion.displacement.ctypes.data, motion.valid.ctypes.data
        args.cell_px = motion.cell_px
        args.motion_rows, args.motion_columns = motion.valid.shape
        chosen = self._new_motion()
        args.moved, args.sourced = (array.ctypes.data for array in chosen)
        return pixels, finite, chosen

    def _new_motion(self) -> tuple[NDArray[np.int16], Mask]:
        """Where the program writes how levels move, and last the image."""
        shape = len(self._taus) + 1, *self._hold.shape[1:]
        return np.empty((*shape, 2), np.int16), np.empty(shape, np.bool_)

    def _level_motion(self, moved: NDArray[np.int16], sourced: Mask) -> LevelMotion:
        # whole features may be more than int16 holds, where the hint was not
        make = MotionField if moved.min(initial=0) < -np.iinfo(np.int16).max else MotionField.trusted
        *levels, image = (make(*one) for one in zip(moved, sourced, strict=True))
        return LevelMotion(image, tuple(levels), self._level_of)

    def _take(self, image: Tensor) -> tuple[Tensor, bool]:
        """Passes the image on.

        Returns:
          what has to live until the program has read it; False where pixels of an image elsewhere are not finite. Those
          of an image here are looked at by the program.
        """
        if tuple(image.shape) != self._shape or image.dtype != torch.float32:
            raise ShapeError(f"image is {tuple(image.shape)} {image.dtype}; expected {self._shape} torch.float32")
        args, image = self._args, image.detach()
        args.threads = torch.get_num_threads()
        if self._is_elsewhere(image):
            pixels, finite = fetched_bytes(image, float(args.low), float(args.scale))
            args.image, args.bytes = None, pixels.data_ptr()
            return pixels, finite
        pixels = image.contiguous()
        args.image, args.bytes = pixels.data_ptr(), None
        return pixels, True

    @staticmethod
    def _is_elsewhere(image: Tensor) -> bool:
        return image.device.type != "cpu"


def fetched_bytes(image: Tensor, low: float, scale: float) -> tuple[Tensor, bool]:
    """An image as `quantise` makes it, made where it is: a quarter of the bytes is fetched, into pinned memory.

    Waits for what is before it on the device's stream.

    Args:
      image: `(1, C, H, W)` float32.
      low, scale: 0..255 is `(value - low) * scale`; float32 numbers.

    Returns:
      uint8 `(C * H * W + 1)` on the host, the pixels and one byte more; whether all are finite.
    """
    finite = image.isfinite()
    scaled = image.sub(low).mul_(scale).round_().clamp_(0, 255)
    packed = torch.empty(image.numel() + 1, dtype=torch.uint8, device=image.device)
    packed[:-1] = torch.where(finite, scaled, 0.0).to(torch.uint8).view(-1)
    packed[-1] = finite.all()
    if image.device.type != "cuda":
        return packed.cpu(), bool(packed[-1])
    fetched = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=True)
    fetched.copy_(packed, non_blocking=True)
    torch.cuda.current_stream(image.device).synchronize()
    return fetched, bool(fetched[-1])


def _thresholds(levels: Sequence[Level], reach: int) -> NDArray[np.int32]:
    """Rows of `Taus`; dilation by more than `reach` shards is no more."""
    return np.array(
        [
            (one.tau, one.tau_background, one.tau_small, one.tau_waiting, one.tau_stray, min(one.dilation, reach))
            for one in levels
        ],
        np.int32,
    )
