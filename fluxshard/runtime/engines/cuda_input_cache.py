"""The input cache on a device, bit-equal with `ReferenceInputCache`: S_0 stays there, and proposing does not wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError
from fluxshard.ir.stream_layout import InputControl, StreamLayout
from fluxshard.motion import CELL_PX
from fluxshard.runtime.engines.cuda_captured import Captured, run_captured
from fluxshard.runtime.engines.cuda_device import Device
from fluxshard.runtime.engines.cuda_inspection import view
from fluxshard.runtime.engines.cuda_proposal import DeviceMotion
from fluxshard.runtime.level_motion import LevelMotion, Motion, motion_of
from fluxshard.runtime.reuse.input_cache import InputOptions, InputProposal, Mask, stale_input

InputLaunches = tuple[Callable[[int], None], ...]


class CudaInputProgram(Protocol):
    """The program of an input cache; `codegen.cuda.program.CudaProgram` is one."""

    @property
    def layout(self) -> StreamLayout:
        """Memory layout of a stream; `input` is the cache's."""
        ...

    @property
    def input_bytes(self) -> int:
        """Memory of a stream's input cache."""
        ...

    @property
    def input_blocks(self) -> tuple[tuple[int, int], ...]:
        """Offset and bytes of each block of it; what lies between is never touched."""
        ...

    def bind_input(self, *, remap: bool, input: int) -> tuple[InputLaunches, InputLaunches]:
        """Launches that propose a frame and that commit it, for a cache at this address."""
        ...

    def input_block(self, control: InputControl) -> bytes:
        """Bytes to upload once a proposal."""
        ...


@dataclass(slots=True)
class InputArena:
    """Device memory of an input cache, and what happens to it.

    Attributes:
      arena: laid out by `InputLayout`.
      parity: which image buffer the cache stands for.
      held: what the last proposal reads.
      cuda_stream, done: where it was last used, and when that ends.
    """

    arena: Tensor
    parity: int = 0
    held: list[Tensor] = field(default_factory=list)
    cuda_stream: torch.cuda.Stream | None = None
    done: torch.cuda.Event | None = None


class CudaInputCache:
    """See `InputCache`, and `ReferenceInputCache` for what it computes.

    Args:
      program: of the engine.
      device: where it runs.
      image_shape: (C, H, W).
      options: how to compare.

    Attributes:
      program: as given.
      memory: what the engine's kernels read.
      serial: number of the last proposal.
    """

    def __init__(
        self, program: CudaInputProgram, device: Device, image_shape: tuple[int, int, int], options: InputOptions
    ) -> None:
        self.program = program
        self._device, self._shape, self._options = device, image_shape, options
        self._layout = program.layout.input
        self._grids = len(program.layout.grids)
        with device.current(), torch.inference_mode(False), torch.no_grad():
            arena = device.zeros(program.input_bytes)
            propose, commit = program.bind_input(remap=options.remap, input=arena.data_ptr())
        device.protect(arena, program.input_blocks)
        self.memory = InputArena(arena)
        self.serial = 0
        self._propose, self._commit = Captured(propose), Captured(commit)
        self._pending: CudaInput | None = None
        self._has_keyframe = False
        self._numbers: tuple[bool, int] | None = None  # of the last proposal, once they were read

    @property
    def n_bytes(self) -> int:
        """See `InputCache.n_bytes`."""
        return self.program.input_bytes + self._propose.n_bytes + self._commit.n_bytes

    def propose(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | None) -> CudaInput:
        """See `InputCache.propose`. The CUDA stream that is current must be ordered after what made the image.

        Raises:
          ShapeError: an image or motion field of another shape, type or device than the program is for.
          StateError: the caller captures the current CUDA stream.
        """
        device = self._device
        if tuple(image.shape) != (1, *self._shape) or image.dtype != torch.float32:
            raise ShapeError(f"image is {tuple(image.shape)} {image.dtype}; expected {(1, *self._shape)} torch.float32")
        if image.device.type != device.torch_device.type:
            raise ShapeError(f"image is on {image.device}; expected {device.torch_device}")
        image_motion = motion_of(motion, 0)
        if image_motion is not None:
            image_motion.check_covers(*self._shape[1:])
        with device.current(), torch.inference_mode(False), torch.no_grad():
            device.refuse_capture()
            device.order_after(self.memory)
            self.write(image.detach().contiguous(), motion, keyframe=keyframe or not self._has_keyframe, given=given)
            self._run(self._propose)
            device.remember(self.memory)
        self.serial += 1
        self._numbers = None
        self._pending = CudaInput(self, self.serial)
        return self._pending

    def write(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | int | None) -> None:
        """Uploads what the launches of a proposal read; arguments as for `propose`, `given` also an address there."""
        device, height, width = self._device, *self._shape[1:]
        held = [image]
        vectors, valid, starts, cell_px, columns = 0, 0, 0, 1, 1
        if isinstance(motion, DeviceMotion):
            there = motion.on_device
            held += there.held
            vectors, valid, starts = there.moved, there.sourced, there.starts
            cell_px, columns = CELL_PX, there.cells[1]
        elif motion is not None:
            fields = (motion.image, *motion.levels) if isinstance(motion, LevelMotion) else (motion,)
            cell_px, (rows, columns) = fields[0].cell_px, fields[0].valid.shape
            order = _starts(motion, self._grids, rows * columns)
            numbers = [
                np.ascontiguousarray(field.displacement, np.int16).view(np.uint8).reshape(-1) for field in fields
            ]
            known = [field.valid.view(np.uint8).reshape(-1) for field in fields]
            held.append(device.upload(np.concatenate([order.view(np.uint8), *numbers, *known])))
            starts = held[-1].data_ptr() if order.size else 0
            vectors = held[-1].data_ptr() + order.nbytes
            valid = vectors + sum(part.size for part in numbers)
        pixels = given if isinstance(given, int) else 0
        if given is not None and not isinstance(given, int):
            held.append(device.upload(np.ascontiguousarray(given, np.bool_).view(np.uint8).reshape(-1)))
            pixels = held[-1].data_ptr()
        block = self.program.input_block(
            InputControl(
                image=image.data_ptr(), motion=vectors, motion_valid=valid,
                scene_cut=int(self._options.scene_cut * height * width), cell_px=cell_px, motion_columns=columns,
                keyframe=keyframe, fresh=self._options.mode == "fresh", parity=self.memory.parity,
                tau=self._options.tau, given=pixels, motion_starts=starts,
            )
        )  # fmt: skip
        at = self._layout.control.offset
        device.write(self.memory.arena[at : at + len(block)], np.frombuffer(block, np.uint8))
        self.memory.held = held

    def commit(self, proposal: InputProposal) -> None:
        """See `InputCache.commit`."""
        pending, self._pending = self._pending, None
        if pending is None or pending is not proposal:
            raise stale_input()
        self._has_keyframe = True
        if self._options.remap:
            self.advance()
        if not self._commit.launches:
            return
        device = self._device
        with device.current(), torch.inference_mode(False), torch.no_grad():
            device.refuse_capture()
            device.order_after(self.memory)
            self._run(self._commit)
            device.remember(self.memory)

    def advance(self) -> None:
        """Lets the cache stand for the image that was assembled last."""
        self.memory.parity ^= 1

    def numbers(self, serial: int) -> tuple[bool, int]:
        """Keyframe and |S_0| of the last proposal; waits for it.

        Raises:
          StateError: there is a later one.
        """
        if self._numbers is None or serial != self.serial:
            key, pixels = self._read(serial, self._layout.key.offset, torch.int32, (2,)).tolist()
            self._numbers = bool(key), self._shape[1] * self._shape[2] if key else int(pixels)
        return self._numbers

    def mask(self, serial: int) -> Mask:
        """S_0 of the last proposal, `(H, W)`, a copy; waits for it.

        Raises:
          StateError: there is a later one.
        """
        found: NDArray[np.bool_] = self._read(serial, self._layout.mask.offset, torch.uint8, self._shape[1:]) != 0
        return found

    def _read(self, serial: int, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> NDArray[np.generic]:
        if serial != self.serial:
            raise stale_input()
        with self._device.current(), torch.inference_mode(False), torch.no_grad():
            self._device.order_after(self.memory)
            found: NDArray[np.generic] = view(self.memory.arena, offset, dtype, shape).cpu().numpy()
        return found

    def _run(self, captured: Captured) -> None:
        def launch() -> None:
            cuda_stream = self._device.cuda_stream()
            for step in captured.launches:
                assert callable(step)
                step(cuda_stream)

        run_captured(captured, self._device, launch, "the image")


@dataclass(frozen=True, slots=True, eq=False)
class CudaInput:
    """See `InputProposal`. Reading waits for the device, and is possible until the next proposal.

    Attributes:
      cache: that proposed it.
      serial: number of the proposal.
    """

    cache: CudaInputCache
    serial: int

    @property
    def keyframe(self) -> bool:
        """See `InputProposal.keyframe`."""
        return self.cache.numbers(self.serial)[0]

    @property
    def pixels(self) -> int:
        """See `InputProposal.pixels`."""
        return self.cache.numbers(self.serial)[1]

    def mask(self) -> Mask:
        """See `InputProposal.mask`."""
        return self.cache.mask(self.serial)


def _starts(motion: Motion, grids: int, cells: int) -> NDArray[np.int32]:
    """Where every grid's cells begin among fields in a row, the image's first; empty where there is one field."""
    if not isinstance(motion, LevelMotion):
        return np.zeros(0, np.int32)
    levels = [motion.level_of[grid] if 0 < grid < len(motion.level_of) else None for grid in range(grids)]
    return np.array([0 if level is None else (level + 1) * cells for level in levels], np.int32)
