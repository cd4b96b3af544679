"""Runs a plan through its generated CUDA kernels: on a GPU as one graph per stream, or through the emulator on a CPU.

Everything stays on the device and nothing waits for it: counts of cells are read by kernels, what a frame is given is
uploaded in one piece, and statistics are fetched when somebody asks for them. What is kept between frames is made
outside of `torch.inference_mode`, whether the caller is in it or not: tensors made inside could not be written outside.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.ir.params import Island
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.stream_layout import FrameControl, Ptr, StreamLayout, TorchCall
from fluxshard.motion import MotionField
from fluxshard.ops.interpret import evaluate
from fluxshard.ops.reference import IslandProgram
from fluxshard.options import Rfap
from fluxshard.runtime.engines.cuda_device import Device, Graph
from fluxshard.runtime.engines.cuda_inspection import CudaInspection, view
from fluxshard.runtime.engines.cuda_islands import on_device
from fluxshard.runtime.engines.engine import StepControl, StepCounts, StepResult, StreamState

Launches = tuple[Callable[[int], None] | TorchCall, ...]  # each launches on a CUDA stream, given its handle


class CudaStepProgram(Protocol):
    """What the engine needs of a program; `codegen.cuda.program.CudaProgram` is one."""

    @property
    def layout(self) -> StreamLayout:
        """Where the values of a stream lie."""
        ...

    @property
    def state_bytes(self) -> int:
        """Memory of a stream."""
        ...

    @property
    def state_blocks(self) -> tuple[tuple[int, int], ...]:
        """Offset and bytes of each block of it; what lies between is never touched."""
        ...

    def bind(self, *, planned: bool, rfap: Rfap, remap: bool, state: int, constants: int) -> Launches:
        """A frame's launches, and the layers that run in torch between them."""
        ...

    def pack_weights(self, weights: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """What all streams share."""
        ...

    def frame_block(self, control: FrameControl) -> bytes:
        """What is uploaded once a frame."""
        ...


@dataclass(slots=True)
class Captured:
    """The launches of one kind of frame; on a GPU, once they have run, as a graph.

    Attributes:
      launches: in order.
      ran: they have run once, kernel by kernel.
      graph: of them; None where there is none yet, or none can be made.
      refused: something in them cannot be captured.
      leaves: values off the grids that only the caller reads, as the last run left them.
    """

    launches: Launches
    ran: bool = False
    graph: Graph | None = None
    refused: bool = False
    leaves: dict[str, Tensor] = field(default_factory=dict)


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
      captured: by kind of frame: planned, rfap, remap.
      held: what the last frame reads.
      cuda_stream, done: where the last frame ran, and its end.
    """

    arena: Tensor
    parity: int = 0
    shown: int = 0
    on_grids: bool = False
    uniform: bool = False
    planned: bool = False
    captured: dict[tuple[bool, str, bool], Captured] = field(default_factory=dict)
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
    """

    def __init__(self, plan: Plan, program: CudaStepProgram, weights: Mapping[str, Tensor], device: Device) -> None:
        self.plan = plan
        self._program = program
        self._layout = program.layout
        self._device = device
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
        """Where images have to be, and results are."""
        return self._device.torch_device

    def new_state(self) -> StreamState:
        """See `Engine.new_state`."""
        with self._device.current(), torch.inference_mode(False), torch.no_grad():
            arena = self._device.zeros(self._program.state_bytes)
        self._device.protect(arena, self._program.state_blocks)
        return StreamState(CudaState(arena), self._program.state_bytes)

    def step(self, state: StreamState, image: Tensor, motion: MotionField | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        with self._device.current(), torch.inference_mode(False), torch.no_grad():
            return self._step(state, image, motion, control)

    def _step(self, state: StreamState, image: Tensor, motion: MotionField | None, control: StepControl) -> StepResult:
        stream: CudaState = state.data
        device, plan = self._device, self.plan
        device.refuse_capture()
        started = time.perf_counter()
        device.order_after(stream)
        planned = control.work is not None and len(control.work) == len(plan.grids)
        if planned and not (control.keyframe or stream.on_grids or stream.uniform):
            planned = False  # values of a grid have maps of their own until the next keyframe
        self._move_maps(stream, planned, control.keyframe)
        key = (planned, control.rfap, control.remap)
        captured = stream.captured.get(key)
        if captured is None:
            launches = self._program.bind(
                planned=planned, rfap=control.rfap, remap=control.remap, state=stream.arena.data_ptr(),
                constants=self._constants.data_ptr(),
            )  # fmt: skip
            captured = stream.captured[key] = Captured(launches)
        outputs = {
            name: torch.empty(plan.value(name).shape, device=device.torch_device)
            for name in self._outputs
            if plan.value(name).grid is not None
        }
        held = self._upload(stream, image, motion, control, outputs)
        start = device.event()
        self._run(stream, captured)
        end = device.event()
        stream.held = held
        stream.shown = stream.parity ^ 1
        if control.remap:
            stream.parity = stream.shown
        stream.on_grids, stream.planned = planned, planned
        stream.uniform = control.keyframe and not planned
        device.remember(stream)
        leaves: list[Tensor | None | bool | int | float | str] = []
        for leaf in plan.outputs:
            if leaf.value is None:
                leaves.append(leaf.literal)
            elif leaf.value in outputs:
                leaves.append(outputs[leaf.value])
            else:
                leaves.append(self._off_grid(stream, captured, leaf.value).clone())
        host_ms = (time.perf_counter() - started) * 1e3
        return StepResult(leaves=leaves, counts=lambda: self._counts(stream, device.elapsed_ms(start, end, host_ms)))

    def inspect(self, state: StreamState) -> CudaInspection:
        """See `Engine.inspect`."""
        stream: CudaState = state.data
        return CudaInspection(self.plan, self._layout, stream.arena, stream.shown, stream.planned)

    # ---- a frame

    def _upload(
        self, stream: CudaState, image: Tensor, motion: MotionField | None, control: StepControl,
        outputs: Mapping[str, Tensor],
    ) -> list[Tensor]:  # fmt: skip
        """Writes what the frame is given; returns what must live until it has run."""
        device, plan = self._device, self.plan
        held = [image, *outputs.values()]
        vectors, valid, cell_px, columns = 0, 0, 1, 1
        if motion is not None:
            numbers = np.ascontiguousarray(motion.displacement, np.int16).view(np.uint8).reshape(-1)
            held.append(device.upload(np.concatenate([numbers, motion.valid.view(np.uint8).reshape(-1)])))
            vectors, valid = held[-1].data_ptr(), held[-1].data_ptr() + numbers.size
            cell_px, columns = motion.cell_px, motion.valid.shape[1]
        work = [0] * len(plan.grids)
        for index, mask in (control.work or {}).items():
            held.append(device.upload(np.ascontiguousarray(mask, np.bool_).view(np.uint8).reshape(-1)))
            work[index] = held[-1].data_ptr()
        block = self._program.frame_block(
            FrameControl(
                image=image.data_ptr(), motion=vectors, motion_valid=valid, cell_px=cell_px, motion_columns=columns,
                scene_cut=int(control.scene_cut * plan.grids[0].cells), keyframe=control.keyframe,
                input_fresh=control.input == "fresh", parity=stream.parity, tau_input=control.tau_input,
                tau=control.tau, work=work,
                outputs=[outputs[name].data_ptr() if name in outputs else 0 for name in self._outputs],
            )
        )  # fmt: skip
        at = self._layout.control.offset
        device.write(stream.arena[at : at + len(block)], np.frombuffer(block, np.uint8))
        return held

    def _run(self, stream: CudaState, captured: Captured) -> None:
        if captured.graph is not None:
            captured.graph.replay()
            return
        if captured.ran and self._device.captures and not captured.refused:
            try:
                captured.graph = self._device.capture(lambda: self._launch(stream, captured))
            except RuntimeError as error:  # of torch, by an op that waits for the device
                captured.refused = True
                seen = str(error).strip().partition("\n")[0]
                warnings.warn(
                    f"frames of {self.plan.name} cannot be captured as a CUDA graph ({seen}): they are launched one "
                    "kernel at a time, which takes longer; an island that waits for the device is the likely reason",
                    RuntimeWarning,
                    stacklevel=1,
                )
            else:
                captured.graph.replay()
                return
        self._launch(stream, captured)
        captured.ran = True

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
        keyframe = bool(view(stream.arena, layout.key.offset, torch.int32, (1,)).item())

        def number(where: Ptr) -> int:
            return int(numbers[(where.offset - zero) // 4])

        candidates = np.zeros(len(plan.layers), np.int64)
        for index, layer in enumerate(plan.layers):
            if layer.name in self._in_torch:
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
            keyframe=keyframe, input_cells=pixels if keyframe else number(layout.pixel_count), candidates=candidates,
            executed=candidates > 0, total_ms=total_ms,
        )  # fmt: skip
