"""Runs a plan through its generated CUDA kernels: on a GPU as graphs, or through the emulator on a CPU.

Everything stays on the device and nothing waits for it: counts of cells are read by kernels, what a frame is given is
uploaded in one piece, and statistics are fetched when somebody asks for them. What is kept between frames is made
outside of `torch.inference_mode`, whether the caller is in it or not: tensors made inside could not be written outside.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import StateError
from fluxshard.ir.params import Island
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.stream_layout import FrameControl, Ptr, TorchCall
from fluxshard.ops.interpret import evaluate
from fluxshard.ops.reference import IslandProgram
from fluxshard.options import Rfap
from fluxshard.runtime.engines.cuda_captured import Captured, Launches, run_captured
from fluxshard.runtime.engines.cuda_device import Device
from fluxshard.runtime.engines.cuda_input_cache import CudaInput, CudaInputCache, CudaInputProgram
from fluxshard.runtime.engines.cuda_inspection import CudaInspection, view
from fluxshard.runtime.engines.cuda_islands import on_device
from fluxshard.runtime.engines.cuda_proposal import DeviceWork
from fluxshard.runtime.engines.engine import Mask, StepControl, StepCounts, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.reuse.input_cache import InputOptions, stale_input

# where no input cache compares: all that the frame computes is given, and the network reads the image itself
_TAKE_IMAGE = InputOptions(tau=0.0, scene_cut=1.0, mode="fresh", remap=True)


class CudaStepProgram(CudaInputProgram, Protocol):
    """The program of an engine; `codegen.cuda.program.CudaProgram` is one."""

    @property
    def state_bytes(self) -> int:
        """Memory of a stream's state."""
        ...

    @property
    def state_blocks(self) -> tuple[tuple[int, int], ...]:
        """Offset and bytes of each block of it; what lies between is never touched."""
        ...

    def bind(
        self, *, planned: bool, rfap: Rfap, remap: bool, takes_image: bool, state: int, input: int, constants: int
    ) -> Launches:
        """A frame's launches, and the layers that run in torch between them.

        Args:
          planned: the work of every grid is given.
          rfap, remap: as in `StepControl`.
          takes_image: the launches begin with the image, which no input cache has assembled.
          state, input, constants: addresses of the stream's state, of its input cache and of what all streams share.
        """
        ...

    def pack_weights(self, weights: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Bytes that all streams share."""
        ...

    def frame_block(self, control: FrameControl) -> bytes:
        """Bytes to upload once a frame."""
        ...


@dataclass(slots=True)
class CudaState:
    """State of one video stream.

    Attributes:
      arena: its layout.
      parity: which maps are the cache's.
      shown: which maps the last frame left; others than the cache's where it is not remapped.
      on_grids: slot maps of the last frame are those of the grids.
      uniform: ... and if they are the stores': those of a grid are all equal.
      planned: the last frame's work was given for every grid.
      inputs: whose memory the launches read: the session's input cache, or the stream's own.
      own: takes the image of frames that come without an input cache; made by the first of them.
      captured: by kind of frame: planned, rfap, remap, takes_image.
      held: what the last frame reads.
      cuda_stream, done: where the last frame ran, and its end.
    """

    arena: Tensor
    parity: int = 0
    shown: int = 0
    on_grids: bool = False
    uniform: bool = False
    planned: bool = False
    inputs: CudaInputCache | None = None
    own: CudaInputCache | None = None
    captured: dict[tuple[bool, str, bool, bool], Captured] = field(default_factory=dict)
    held: list[Tensor] = field(default_factory=list)
    cuda_stream: torch.cuda.Stream | None = None
    done: torch.cuda.Event | None = None


class CudaEngine:
    """See the module's docstring.

    Args:
      plan: what to run.
      program: generated from the same plan.
      weights: by name.
      device: where it runs.

    Attributes:
      plan, program, device: as given.
    """

    def __init__(self, plan: Plan, program: CudaStepProgram, weights: Mapping[str, Tensor], device: Device) -> None:
        self.plan = plan
        self.program = self._program = program
        self._layout = program.layout
        self.device = self._device = device
        self.name = device.backend
        self._in_torch = {layer.name: layer for layer in plan.layers if layer.name in self._layout.in_torch}
        names = {name for layer in self._in_torch.values() for _, name in layer.weights}
        with torch.inference_mode(False), torch.no_grad():
            self._constants = device.upload(program.pack_weights({k: v.cpu().numpy() for k, v in weights.items()}))
            self._weights = {name: weights[name].to(device.torch_device) for name in names}
        self._islands = {
            name: IslandProgram(on_device(layer.params.steps, device.torch_device))
            for name, layer in self._in_torch.items()
            if isinstance(layer.params, Island)
        }
        self._outputs = [leaf.value for leaf in plan.outputs if leaf.value is not None]

    @property
    def torch_device(self) -> torch.device:
        """Device of images and results."""
        return self._device.torch_device

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        with self._device.current(), torch.inference_mode(False), torch.no_grad():
            arena = self._device.zeros(self._program.state_bytes)
        self._device.protect(arena, self._program.state_blocks)
        return StreamState(CudaState(arena), self._program.state_bytes)

    def new_input_cache(self, options: InputOptions) -> CudaInputCache:
        """See `Engine.new_input_cache`."""
        _, channels, height, width = self.plan.value(self.plan.input).shape
        return CudaInputCache(self._program, self._device, (channels, height, width), options)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        with self._device.current(), torch.inference_mode(False), torch.no_grad():
            return self._step(state, image, motion, control)

    def _step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        stream: CudaState = state.data
        device, plan = self._device, self.plan
        device.refuse_capture()
        started = time.perf_counter()
        inputs = self._inputs(state, control)
        takes_image = control.input is None
        device.order_after(stream)
        device.order_after(inputs.memory)
        planned = control.work is not None and len(control.work) == len(plan.grids)
        if planned and not (control.keyframe or stream.on_grids or stream.uniform):
            planned = False  # values of a grid have maps of their own until the next keyframe
        self._move_maps(stream, planned, control.keyframe)
        key = (planned, control.rfap, control.remap, takes_image)
        captured = stream.captured.get(key)
        if captured is None:
            launches = self._program.bind(
                planned=planned, rfap=control.rfap, remap=control.remap, takes_image=takes_image,
                state=stream.arena.data_ptr(), input=inputs.memory.arena.data_ptr(),
                constants=self._constants.data_ptr(),
            )  # fmt: skip
            captured = stream.captured[key] = Captured(launches)
        outputs = {
            name: torch.empty(plan.value(name).shape, device=device.torch_device)
            for name in self._outputs
            if plan.value(name).grid is not None
        }
        held, work = self._upload(stream, control, outputs)
        if takes_image:
            given = work[0] or None
            inputs.write(control.pixels.floats(image), motion, keyframe=control.keyframe, given=given)
        start = device.event()
        run_captured(captured, device, lambda: self._launch(stream, captured), self.plan.name)
        end = device.event()
        state.n_bytes = self._bytes_of(stream)
        if takes_image:
            inputs.advance()
        stream.held = held
        stream.shown = stream.parity ^ 1
        if control.remap:
            stream.parity = stream.shown
        stream.on_grids, stream.planned = planned, planned
        stream.uniform = control.keyframe and not planned
        device.remember(stream)
        device.remember(inputs.memory)
        leaves: list[Tensor | None | bool | int | float | str] = []
        for leaf in plan.outputs:
            if leaf.value is None:
                leaves.append(leaf.literal)
            elif leaf.value in outputs:
                leaves.append(outputs[leaf.value])
            else:
                leaves.append(self._off_grid(stream, captured, leaf.value).clone(memory_format=torch.contiguous_format))
        host_ms = (time.perf_counter() - started) * 1e3
        return StepResult(leaves=leaves, counts=lambda: self._counts(stream, device.elapsed_ms(start, end, host_ms)))

    def inspect(self, state: StreamState) -> CudaInspection:
        """See `Engine.inspect`."""
        stream: CudaState = state.data
        return CudaInspection(self.plan, self._layout, stream.arena, stream.shown, stream.planned)

    # ---- a frame

    def _inputs(self, state: StreamState, control: StepControl) -> CudaInputCache:
        """The memory that a frame's input is in: of the proposal, or the stream's own."""
        stream: CudaState = state.data
        if control.input is None:
            if not control.keyframe and (control.work is None or 0 not in control.work):
                raise StateError(
                    "a frame without an input cache needs its pixels to recompute (work[0]), or a keyframe"
                )
            if stream.own is None:
                stream.own = self.new_input_cache(_TAKE_IMAGE)
            inputs = stream.own
        elif not isinstance(control.input, CudaInput) or control.input.cache.program is not self._program:
            seen = type(control.input).__name__
            raise StateError(f"the input was assembled by another engine ({seen}): take this engine's input cache")
        elif control.input.serial != control.input.cache.serial:
            raise stale_input()
        else:
            inputs = control.input.cache
        if stream.inputs is not inputs:
            stream.captured.clear()  # they read the memory of another cache
            stream.inputs = inputs
        return inputs

    def _bytes_of(self, stream: CudaState) -> int:
        """Device memory of a stream: its state, the input cache that is its own, and what its graphs keep."""
        own = 0 if stream.own is None else stream.own.n_bytes
        return self._program.state_bytes + own + sum(captured.n_bytes for captured in stream.captured.values())

    def _upload(
        self, stream: CudaState, control: StepControl, outputs: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], list[int]]:
        """Writes what the frame is given beside its image.

        Returns:
          what must live until it has run, and the address of the given cells of each grid, or 0.
        """
        device, plan = self._device, self.plan
        held = [*outputs.values()]
        work = [0] * len(plan.grids)
        if isinstance(control.work, DeviceWork):
            held.append(control.work.tensor)
            for index in control.work:
                work[index] = control.work.address(index)
        elif control.work:  # all masks in one copy
            held.append(device.upload(_bytes_of(control.work)))
            at = held[-1].data_ptr()
            for index, mask in control.work.items():
                work[index], at = at, at + mask.size
        block = self._program.frame_block(
            FrameControl(
                parity=stream.parity, tau=control.tau, work=work,
                outputs=[outputs[name].data_ptr() if name in outputs else 0 for name in self._outputs],
            )
        )  # fmt: skip
        at = self._layout.control.offset
        device.write(stream.arena[at : at + len(block)], np.frombuffer(block, np.uint8))
        return held, work

    def _launch(self, stream: CudaState, captured: Captured) -> None:
        cuda_stream = self._device.cuda_stream()
        for step in captured.launches:
            if isinstance(step, TorchCall):
                self._run_in_torch(stream, captured, self._in_torch[step.layer])
            else:
                step(cuda_stream)

    def _run_in_torch(self, stream: CudaState, captured: Captured, layer: LayerSpec) -> None:
        inputs = [self._dense(stream, name) for name in layer.inputs]
        roles = {role: self._weights[name] for role, name in layer.weights}
        results: Mapping[str, object]
        if layer.name in self._islands:
            results = self._islands[layer.name]({**dict(zip(layer.inputs, inputs, strict=True)), **roles})
        else:
            results = {layer.output: evaluate(layer, inputs, roles)}
        for name in layer.outputs:
            fresh = results[name]
            assert isinstance(fresh, Tensor)
            if name in self._layout.dense_of:
                self._dense(stream, name).copy_(fresh)
            elif name not in self._layout.compared:
                captured.leaves[name] = fresh
            else:
                view(stream.arena, self._layout.fresh_of[name].offset, torch.float32, fresh.shape).copy_(fresh)

    def _dense(self, stream: CudaState, name: str) -> Tensor:
        """A value as torch reads and writes it."""
        layout = self._layout
        where = layout.dense_of[name] if name in layout.dense_of else layout.cached_of[name]
        return view(stream.arena, where.offset, torch.float32, self.plan.value(name).shape)

    def _off_grid(self, stream: CudaState, captured: Captured, name: str) -> Tensor:
        return captured.leaves[name] if name in captured.leaves else self._dense(stream, name)

    # ---- maps of grids and of stores

    def _move_maps(self, stream: CudaState, planned: bool, keyframe: bool) -> None:
        """Copies the last frame's slot maps to where this frame looks for them."""
        if keyframe or planned == stream.on_grids:
            return
        for store in self._layout.stores.values():
            if self._layout.keeps_maps(store.name):
                continue
            grid, cells = self._layout.grids[store.grid], self.plan.grids[store.grid].cells
            maps = [
                view(stream.arena, where[stream.parity].offset, torch.int32, (cells,))
                for where in (store.maps, grid.maps)
            ]
            source, target = maps if planned else reversed(maps)
            target.copy_(source)

    # ---- statistics

    def _counts(self, stream: CudaState, total_ms: float) -> StepCounts:
        """Fetches what the last frame counted; waits for it."""
        layout, plan = self._layout, self.plan
        zero = layout.zero.offset
        numbers = view(stream.arena, zero, torch.int32, (layout.number_words,)).cpu().numpy()
        key, pixel_count = view(stream.arena, layout.key.offset, torch.int32, (2,)).tolist()
        keyframe = bool(key)

        def number(where: Ptr) -> int:
            return int(numbers[(where.offset - zero) // 4])

        candidates = np.zeros(len(plan.layers), np.int64)
        for index, layer in enumerate(plan.layers):
            if layer.name in self._in_torch or layer.mode == "dense":
                if number(layout.run_of[layer.name]):
                    off_grid = sum(name not in layout.stores for name in layer.outputs)
                    stored = [number(layout.n_of[name]) for name in layer.outputs if name in layout.stores]
                    candidates[index] = off_grid + sum(stored)
            elif layer.mode == "sparse":
                grid = layout.stores[layer.output].grid
                where = layout.n_of_grid[grid] if stream.planned else layout.n_of[layer.output]
                candidates[index] = number(where)
        pixels = plan.grids[0].cells
        return StepCounts(
            keyframe=keyframe, input_cells=pixels if keyframe else pixel_count, candidates=candidates,
            executed=candidates > 0, total_ms=total_ms,
        )  # fmt: skip


def _bytes_of(work: Mapping[int, Mask]) -> NDArray[np.uint8]:
    """Masks one after another, a byte for each cell."""
    return np.concatenate([np.asarray(mask, np.bool_).ravel() for mask in work.values()]).view(np.uint8)
