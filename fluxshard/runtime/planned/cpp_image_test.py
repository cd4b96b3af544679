"""The image test of planned reuse as a generated program, bit-equal with `ReferenceImageTest`: one call a frame."""

from __future__ import annotations

import math
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
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.planned.fetched_bytes import fetched_bytes
from fluxshard.runtime.planned.levels import Level, level_of_grids, thresholds
from fluxshard.runtime.planned.proposal import GridWork, ShardProposal, stale_proposal

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

    @property
    def grids(self) -> tuple[tuple[int, int, int], ...]:
        """(index, rows, columns) of each grid whose cells are planned; the cells lie one after another."""
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
        """Writes the masks of a frame, and if `work` is set the cells of grids; False where its image is not finite.

        Only scratch of the state is written.
        """
        ...

    def glance(self, args: Any) -> bool:
        """The same for the last level alone, whose mask is all that is written."""
        ...

    def commit(self, args: Any) -> None:
        """Takes the last proposal; `args` are those of `propose`, with everything that they point to."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    """An array in the memory of a proposal."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def of(self, memory: NDArray[np.uint8]) -> NDArray[Any]:
        """The array, as a view."""
        return np.ndarray(self.shape, self.dtype, memory, self.offset)


class _Block:
    """Where a program writes what it proposes: arrays in one piece of memory, which is new for every proposal.

    After a frame of a network, what costs of numpy is every first call, not its size.
    """

    def __init__(self, program: ImageTestProgram) -> None:
        _, height, width = program.image_shape
        grid = len(program.shapes) + 1, cells(height, CELL_PX), cells(width, CELL_PX)
        n_grids = max(index for index, *_ in program.grids) + 1
        self._n_bytes = 0
        self.evaluated = self._place(np.int64, (n_grids,))
        self.moved = self._place(np.int16, (*grid, 2))
        self.sourced = self._place(np.bool_, grid)
        self.moves = self._place(np.bool_, (n_grids,))
        self._first_shard = self._n_bytes
        self.shards = [self._place(np.bool_, shape) for shape in program.shapes]
        self._first_cell = self._n_bytes
        self.cells = [self._place(np.bool_, (rows, columns)) for _, rows, columns in program.grids]

    def _place(self, dtype: type[np.generic], shape: tuple[int, ...]) -> _Place:
        place = _Place(self._n_bytes, np.dtype(dtype), shape)
        self._n_bytes += math.prod(shape) * place.dtype.itemsize
        return place

    def write_to(self, args: Any) -> NDArray[np.uint8]:
        """New memory, which the program is told to write to."""
        memory = np.empty(self._n_bytes, np.uint8)
        start = memory.ctypes.data
        args.evaluated, args.moves = start + self.evaluated.offset, start + self.moves.offset
        args.moved, args.sourced = start + self.moved.offset, start + self.sourced.offset
        args.masks, args.work = start + self._first_shard, start + self._first_cell
        return memory


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
        planned, given = {0}.union(*(level.grids for level in levels)), {index for index, *_ in program.grids}
        if planned != given:
            raise ValueError(f"levels have grids {planned}; the program is for {given}: build it from these levels")
        self._program = program
        self._block = _Block(program)
        self._planned = [index for index, *_ in program.grids]
        self._shape = 1, channels, height, width
        self._options = options
        self._state = program.new_state()
        self._hold = np.zeros((2, cells(height, CELL_PX), cells(width, CELL_PX)), np.uint8)
        self._reach = max((side for shape in shapes for side in shape), default=0)
        self._taus = thresholds(levels, self._reach)
        self._level_of = level_of_grids(levels)
        self._has_keyframe = False
        self._pending: _Pending | None = None
        self._args = args = program.new_args()
        low, high = options.pixel_range
        self._values = PixelValues(low, high)
        args.state, args.hold, args.taus = (one.ctypes.data for one in (self._state, self._hold, self._taus))
        args.low, args.scale = np.float32(low), np.float32(255 / (high - low))
        args.margin_cells = min(cells(options.margin_px, CELL_PX), max(self._hold.shape[1:]))
        args.candidates = options.candidates
        args.wait_frames, args.refresh_frames = options.wait_frames, options.refresh_frames

    def memory(self) -> tuple[NDArray[np.uint8], ...]:
        """See `parking.HoldsMemory`."""
        return (self._state,)

    def keyframe(self, image: Tensor) -> bool:
        """See `ImageTest.keyframe`.

        Raises:
          ShapeError: an image of another shape or type than the program is for.
        """
        self._pending = None
        pixels, finite = self._take(image)
        seen = self._program.keyframe(self._args)
        del pixels  # until here the program has read them
        self._has_keyframe = True
        return finite and seen

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
        self._taus[:] = thresholds(levels, self._reach)

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        """See `ImageTest.propose`; the masks are views of one array that is new for every proposal.

        Raises:
          ShapeError: an image or a motion field of another shape or type than the program is for.
          StateError: there was no keyframe.
        """
        args, block = self._args, self._block
        pixels, finite = self._compare(image, motion)
        memory = block.write_to(args)
        evaluated = block.evaluated.of(memory)
        evaluated.fill(0)
        if not finite or not self._program.propose(args):
            return None
        shards = tuple([place.of(memory) for place in block.shards])
        motions = self._level_motion(memory) if motion is not None and args.strays else None
        work = None
        if args.is_planned:
            masks = dict(zip(self._planned, [place.of(memory) for place in block.cells], strict=True))
            work = GridWork(masks, evaluated, block.moves.of(memory).item)
        proposal = ShardProposal(shards, motions, work)
        self._pending = _Pending(proposal, (pixels, memory, motion))
        return proposal

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """See `ImageTest.glance`.

        Raises:
          ShapeError, StateError: as `propose`.
        """
        mask = np.empty(self._program.shapes[-1] if self._program.shapes else (0, 0), np.bool_)
        pixels, finite = self._compare(image, motion)
        memory = self._block.write_to(self._args)
        self._args.masks = mask.ctypes.data
        finite = finite and self._program.glance(self._args)
        del pixels, memory  # until here the program has read them
        return mask if finite else None

    def commit(self, proposal: ShardProposal) -> None:
        """See `ImageTest.commit`."""
        pending, self._pending = self._pending, None
        if pending is None or pending.proposal is not proposal:
            raise stale_proposal()
        self._program.commit(self._args)

    def _compare(self, image: Tensor, motion: MotionField | None) -> tuple[Tensor, bool]:
        """Fills the arguments for a frame; returns what `_take` does."""
        if not self._has_keyframe:
            raise StateError("the image test has no frame to compare with: call keyframe() first")
        if motion is not None:
            motion.check_covers(*self._shape[2:])
        self._pending = None
        args = self._args
        taken = self._take(image)
        args.motion = args.known = None
        if motion is not None:
            args.motion, args.known = motion.displacement.ctypes.data, motion.valid.ctypes.data
            args.cell_px = motion.cell_px
            args.motion_rows, args.motion_columns = motion.valid.shape
        return taken

    def _level_motion(self, memory: NDArray[np.uint8]) -> LevelMotion:
        # whole features may be more than a field holds, where the hint was not: then nothing has been planned
        make = MotionField.trusted if self._args.is_planned else MotionField
        *levels, image = map(make, self._block.moved.of(memory), self._block.sourced.of(memory))
        return LevelMotion.trusted(image, tuple(levels), self._level_of)

    def _take(self, image: Tensor) -> tuple[Tensor, bool]:
        """Passes the image on.

        Returns:
          what has to live until the program has read it; False where pixels of an image elsewhere are not finite. Those
          of an image here are looked at by the program.
        """
        # after a frame of a network every function of torch takes microseconds: no more of them than it takes
        if image.shape != self._shape or image.dtype not in (torch.float32, torch.uint8):
            raise ShapeError(
                f"image is {tuple(image.shape)} {image.dtype}; expected {self._shape} torch.float32 or torch.uint8"
            )
        if image.requires_grad:
            image = image.detach()
        args = self._args
        args.threads = torch.get_num_threads()
        args.image = args.bytes = None
        if self._is_elsewhere(image):
            if image.dtype == torch.float32:
                pixels, finite = fetched_bytes(image, float(args.low), float(args.scale))
                height, width = self._shape[2:]
                args.bytes, args.byte_steps[:] = pixels.data_ptr(), (height * width, width, 1)
                return pixels, finite
            image = image.cpu()
        if image.dtype == torch.uint8 and self._values.exact:
            args.bytes, args.byte_steps[:] = image.data_ptr(), image.stride()[1:]
        else:
            image = self._values.floats(image)
            args.image = image.data_ptr()
        return image, True

    @staticmethod
    def _is_elsewhere(image: Tensor) -> bool:
        return not image.is_cpu
