"""The image test of planned reuse on a device, bit-equal with `ReferenceImageTest`: the picture is never fetched.

What a proposal decides stays on the device, where the frame's launches read it; the host fetches the shards and how
many cells they are, once a proposal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError, StateError
from fluxshard.ir.stream_layout import FIRST_SHARD_COUNT, ShardControl, ShardLayout
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import OBJECT, SMALL_OBJECT, PlannedOptions
from fluxshard.runtime.engines.cuda_captured import Captured, run_captured
from fluxshard.runtime.engines.cuda_device import Device
from fluxshard.runtime.engines.cuda_input_cache import InputArena, InputLaunches
from fluxshard.runtime.engines.cuda_inspection import view
from fluxshard.runtime.engines.cuda_proposal import DeviceFields, DeviceMotion, DeviceWork
from fluxshard.runtime.level_motion import LevelMotion
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.planned.hints import dominant_motion
from fluxshard.runtime.planned.levels import Level, level_of_grids, thresholds
from fluxshard.runtime.planned.proposal import GridWork, ShardProposal, stale_proposal

Mask = NDArray[np.bool_]
_NOT_FINITE, _STRAYS, _FAR = 0, 1, 2  # numbers of a proposal


class ImageTestKernels(Protocol):
    """The loaded kernels of an image test; `codegen.cuda.image_test.CudaImageTestProgram` is one."""

    size: int
    blocks: tuple[tuple[int, int], ...]

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

    @property
    def proposed(self) -> ShardLayout:
        """Of the memory of a proposal."""
        ...

    @property
    def tables(self) -> tuple[int, NDArray[np.uint8]]:
        """Offset and bytes of what a stream's memory holds from the first frame on; the rest of it is zero."""
        ...

    @property
    def starts(self) -> int:
        """Offset of where the motion of every grid of the plan begins in that of a proposal."""
        ...

    @property
    def control(self) -> int:
        """Offset of what `block` gives."""
        ...

    def motion_at(self, n_cells: int) -> int | None:
        """Offset of a motion field of so many cells that is uploaded with the block; None: it does not fit."""
        ...

    def block(
        self, control: ShardControl, taus: NDArray[np.int32], regions: NDArray[np.uint8] | None,
        motion: Sequence[NDArray[np.uint8]],
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Bytes to upload once a proposal."""
        ...

    def bind(self, memory: int) -> dict[str, InputLaunches]:
        """Launches that "propose", "commit", and take a "keyframe", for a stream whose memory lies at an address."""
        ...


class CudaImageTest:
    """State of the image test of one stream; see `ImageTest`, and `ReferenceImageTest` for what it computes.

    Args:
      program: generated from the same image, levels and grids.
      device: where it runs.
      levels: of the plan, for their thresholds.
      options: thresholds and times.

    Raises:
      ValueError: the program is for other levels.
      DeviceMemoryError: the device's memory is full.
    """

    def __init__(
        self, program: ImageTestKernels, device: Device, levels: Sequence[Level], options: PlannedOptions
    ) -> None:
        channels, height, width = program.image_shape
        shapes = tuple((cells(height, level.shard_px), cells(width, level.shard_px)) for level in levels)
        planned, given = {0}.union(*(level.grids for level in levels)), {index for index, *_ in program.grids}
        if shapes != program.shapes or planned != given:
            raise ValueError(
                f"levels have masks of {shapes} and grids {planned}; the program is for {program.shapes} and {given}: "
                "build it from these levels"
            )
        self._program, self._device, self._options = program, device, options
        self._shape = 1, channels, height, width
        self._cells = cells(height, CELL_PX), cells(width, CELL_PX)
        self._margin = min(cells(options.margin_px, CELL_PX), max(self._cells))
        self._reach = max(side for shape in shapes for side in shape)
        self._taus = thresholds(levels, self._reach)
        self._level_of = level_of_grids(levels)
        low, high = options.pixel_range
        self._values = PixelValues(low, high)
        self._low, self._scale = np.float32(low), np.float32(255 / (high - low))
        with device.current(), torch.inference_mode(False), torch.no_grad():
            arena = device.zeros(program.size)
            at, tables = program.tables
            device.write(arena[at : at + tables.size], tables)
            self._launches = {kind: Captured(steps) for kind, steps in program.bind(arena.data_ptr()).items()}
        device.protect(arena, program.blocks)
        self._memory = InputArena(arena)
        self._has_regions, self._has_keyframe = False, False
        self._regions: NDArray[np.uint8] | None = None  # that the device has not been given yet
        self._pending: ShardProposal | None = None

    @property
    def n_bytes(self) -> int:
        """Device memory that it keeps between frames."""
        return self._program.size + sum(captured.n_bytes for captured in self._launches.values())

    @property
    def fetched_bytes(self) -> int:
        """What the host fetches of a proposal."""
        return self._program.proposed.head_bytes

    def keyframe(self, image: Tensor) -> bool:
        """See `ImageTest.keyframe`; waits for the device.

        Raises:
          ShapeError: an image of another shape, type or device than the program is for.
        """
        self._pending = None
        out = self._run("keyframe", image, None, self._program.proposed.head_bytes)
        self._has_keyframe = True
        return not self._read(out, 0, torch.int32, (1,))[0]

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """See `ImageTest.focus`: `(ceil(H / 8), ceil(W / 8))` of `OBJECT`, `SMALL_OBJECT` or 0."""
        self._pending = None
        self._has_regions = True
        bits = (regions >= OBJECT) | ((regions == SMALL_OBJECT).astype(np.uint8) << 1)
        self._regions = bits.astype(np.uint8) if self._regions is None else self._regions | bits.astype(np.uint8)

    def set_levels(self, levels: Sequence[Level]) -> None:
        """See `ImageTest.set_levels`."""
        self._pending = None
        self._taus = thresholds(levels, self._reach)

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        """See `ImageTest.propose`; waits for the device. Work and motion stay there until somebody looks at them.

        Raises:
          ShapeError: an image or a motion field of another shape, type or device than the program is for.
          StateError: there was no keyframe, or the caller captures the current CUDA stream.
        """
        found = self._propose(image, motion)
        if found is None:
            return None
        out, numbers, shards = found
        layout = self._program.proposed
        moves: LevelMotion | None = None
        if motion is not None and numbers[_STRAYS]:
            moves = self._motion_of(out, far=bool(numbers[_FAR]))
        work = None
        if moves is None or not numbers[_FAR]:
            evaluated, moving = numbers[FIRST_SHARD_COUNT:].reshape(2, layout.grids)
            places, at = {}, layout.cells
            for index, rows, columns in self._program.grids:
                places[index] = at, (rows, columns)
                at += rows * columns
            masks = DeviceWork(out, places, self._reader(out))
            work = GridWork(masks, evaluated.astype(np.int64), lambda index: bool(moving[index]))
        self._pending = ShardProposal(shards, moves, work)
        return self._pending

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """See `ImageTest.glance`; here it costs what `propose` does.

        Raises:
          ShapeError, StateError: as `propose`.
        """
        found = self._propose(image, motion)
        return None if found is None else found[2][-1]

    def commit(self, proposal: ShardProposal) -> None:
        """See `ImageTest.commit`."""
        pending, self._pending = self._pending, None
        if pending is None or pending is not proposal:
            raise stale_proposal()
        with self._device.current(), torch.inference_mode(False), torch.no_grad():
            self._device.refuse_capture()
            self._device.order_after(self._memory)
            self._launch("commit")
            self._device.remember(self._memory)
        self._memory.parity ^= 1

    # ---- a proposal

    def _propose(
        self, image: Tensor, motion: MotionField | None
    ) -> tuple[Tensor, NDArray[np.int32], tuple[Mask, ...]] | None:
        """Runs a proposal; its memory on the device, its numbers and shards here; None where it is not finite."""
        self._pending = None
        if not self._has_keyframe:
            raise StateError("the image test has no frame to compare with: call keyframe() first")
        if motion is not None:
            motion.check_covers(*self._shape[2:])
        layout = self._program.proposed
        out = self._run("propose", image, motion, layout.size)
        head = self._read(out, 0, torch.uint8, (layout.head_bytes,))
        numbers = head[: layout.shards].view(np.int32)
        if numbers[_NOT_FINITE]:
            return None
        shards, at = [], layout.shards
        for rows, columns in self._program.shapes:
            shards.append(head[at : at + rows * columns].view(np.bool_).reshape(rows, columns))
            at += rows * columns
        return out, numbers, tuple(shards)

    def _run(self, kind: str, image: Tensor, motion: MotionField | None, out_bytes: int) -> Tensor:
        """Uploads what launches of a kind read, and launches them; the memory that they write to."""
        device, options = self._device, self._options
        if tuple(image.shape) != self._shape or image.dtype not in (torch.float32, torch.uint8):
            raise ShapeError(
                f"image is {tuple(image.shape)} {image.dtype}; expected {self._shape} torch.float32 or torch.uint8"
            )
        if image.device.type != device.torch_device.type:
            raise ShapeError(f"image is on {image.device}; expected {device.torch_device}")
        with device.current(), torch.inference_mode(False), torch.no_grad():
            device.refuse_capture()
            device.order_after(self._memory)
            pixels = image.detach()
            as_bytes = pixels.dtype == torch.uint8 and self._values.exact
            if not as_bytes:
                pixels = self._values.floats(pixels).contiguous()
            out = torch.empty(out_bytes, dtype=torch.uint8, device=device.torch_device)
            held, parts, vectors, known = [pixels, out], [], 0, 0
            if motion is not None:
                parts = [
                    np.ascontiguousarray(motion.displacement, np.int16).view(np.uint8).reshape(-1),
                    np.ascontiguousarray(motion.valid).view(np.uint8).reshape(-1),
                ]
                at = self._program.motion_at(motion.valid.size)
                if at is None:  # finer than cells of 8 px: it goes on its own
                    held.append(device.upload(np.concatenate(parts)))
                    vectors = held[-1].data_ptr()
                else:
                    vectors = self._memory.arena.data_ptr() + at
                known = vectors + parts[0].size
                parts = [] if at is None else parts
            channel, row, column = pixels.stride()[1:]
            searches = int(options.candidates and motion is not None and _moves(motion))
            dominant = (0, 0)
            if searches and motion is not None and not parts:
                found = dominant_motion(motion)
                searches, dominant = 2, (int(found[0]), int(found[1]))
            block = self._program.block(
                ShardControl(
                    image=0 if as_bytes else pixels.data_ptr(), bytes=pixels.data_ptr() if as_bytes else 0,
                    steps=(channel, row, column), motion=vectors, known=known, out=out.data_ptr(),
                    low=float(self._low), scale=float(self._scale), cell_px=1 if motion is None else motion.cell_px,
                    motion_columns=1 if motion is None else motion.valid.shape[1],
                    dominant=dominant, searches=searches, has_regions=self._has_regions,
                    hold_frames=options.hold_frames, margin_cells=self._margin,
                    wait_frames=options.wait_frames, refresh_frames=options.refresh_frames, parity=self._memory.parity,
                ),
                self._taus, self._regions, parts,
            )  # fmt: skip
            at = self._program.control
            device.write(self._memory.arena[at : at + block.size], block)
            self._launch(kind)
            self._memory.held = held
            device.remember(self._memory)
        self._regions = None
        return out

    def _launch(self, kind: str) -> None:
        captured = self._launches[kind]

        def launch() -> None:
            cuda_stream = self._device.cuda_stream()
            for step in captured.launches:
                assert callable(step)
                step(cuda_stream)

        run_captured(captured, self._device, launch, "the image test")

    # ---- what stays on the device

    def _read(self, out: Tensor, offset: int, dtype: torch.dtype, shape: Sequence[int]) -> NDArray[np.generic]:
        with self._device.current(), torch.inference_mode(False), torch.no_grad():
            self._device.order_after(self._memory)
            return self._device.fetch(view(out, offset, dtype, shape))

    def _reader(self, out: Tensor) -> Callable[[int, Sequence[int]], Mask]:
        return lambda offset, shape: self._read(out, offset, torch.uint8, shape).view(np.bool_)

    def _motion_of(self, out: Tensor, *, far: bool) -> LevelMotion:
        """The motion that levels chose.

        Args:
          out: memory of the proposal.
          far: some is more than fields hold; then it is looked at here, and such cells have no source.
        """
        layout, fields = self._program.proposed, len(self._program.shapes) + 1

        def fetch() -> tuple[MotionField, tuple[MotionField, ...]]:
            moved = self._read(out, layout.moved, torch.int16, (fields, *self._cells, 2))
            sourced = self._read(out, layout.sourced, torch.uint8, (fields, *self._cells)).view(np.bool_)
            make = MotionField if far else MotionField.trusted
            image, *levels = map(make, moved, sourced)
            return image, tuple(levels)

        if far:
            return LevelMotion(*fetch(), self._level_of)
        start = out.data_ptr()
        on_device = DeviceFields(
            held=(out, self._memory.arena), cells=self._cells, moved=start + layout.moved,
            sourced=start + layout.sourced, starts=self._memory.arena.data_ptr() + self._program.starts,
        )  # fmt: skip
        return DeviceMotion(self._level_of, on_device, fetch)


def _moves(motion: MotionField) -> bool:
    """A still picture is no reason to search."""
    return bool(motion.displacement.any()) or not motion.valid.all()
