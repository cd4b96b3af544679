"""Runs a plan through its generated CUDA kernels: on a GPU as one graph per stream, or through the emulator on a CPU.

Everything stays on the device and nothing waits for it: counts of cells are read by kernels, what a frame is given is
uploaded in one piece, and statistics are fetched when somebody asks for them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.ir.params import Island
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.motion import MotionField
from fluxshard.ops.interpret import evaluate
from fluxshard.ops.reference import IslandProgram
from fluxshard.runtime.engines.cuda_device import Device
from fluxshard.runtime.engines.cuda_inspection import CudaInspection, view
from fluxshard.runtime.engines.engine import StepControl, StepCounts, StepResult, StreamState

Launches = tuple[Callable[[int], None] | Any, ...]


class CudaStepProgram(Protocol):
    """What the engine needs of a program; `codegen.cuda.program.CudaProgram` is one."""

    @property
    def memory(self) -> Any:
        """Where everything lies."""
        ...

    def bind(self, *, planned: bool, rfap: Any, remap: bool, state: int, constants: int) -> Launches:
        """A frame's launches, and the layers that run in torch between them."""
        ...

    def pack_weights(self, weights: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """What all streams share."""
        ...

    def frame_block(self, **fields: Any) -> bytes:
        """What is uploaded once a frame."""
        ...


@dataclass(slots=True)
class Recorded:
    """The launches of one kind of frame; on a GPU, once they have run, as a graph."""

    launches: Launches
    ran: bool = False
    graph: Any = None
    refused: bool = False  # something in it cannot be recorded
    leaves: dict[str, Tensor] = field(default_factory=dict)  # values off the grids that only the caller reads


@dataclass(slots=True)
class CudaState:
    """State of one video stream."""

    arena: Tensor
    parity: int = 0  # which maps are the cache's
    shown: int = 0  # which maps the last frame left; others than the cache's where it is not remapped
    on_grids: bool = False  # slot maps of the last frame are those of the grids
    uniform: bool = False  # ... and if they are the stores': those of a grid are all equal
    planned: bool = False  # the last frame's work was given for every grid
    recorded: dict[tuple[bool, str, bool], Recorded] = field(default_factory=dict)
    held: list[Tensor] = field(default_factory=list)  # what the last frame reads
    queue: Any = None  # the stream that it ran on, and its end
    done: Any = None


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
        self._memory = program.memory
        self._device = device
        self.name = device.backend
        self._constants = device.upload(program.pack_weights({k: v.cpu().numpy() for k, v in weights.items()}))
        in_torch = [layer for layer in plan.layers if self._memory.is_dense(layer.name, layer.params)]
        self._in_torch = {layer.name: layer for layer in in_torch}
        names = {name for layer in in_torch for _, name in layer.weights}
        self._weights = {name: weights[name].to(device.torch_device) for name in names}
        self._islands = {
            layer.name: IslandProgram(layer.params.steps) for layer in in_torch if isinstance(layer.params, Island)
        }
        self._outputs = [leaf.value for leaf in plan.outputs if leaf.value is not None]

    @property
    def torch_device(self) -> torch.device:
        """Where images have to be, and results are."""
        return self._device.torch_device

    def new_state(self) -> StreamState:
        """See `Engine.new_state`."""
        arena = self._device.zeros(self._memory.state.size)
        self._device.protect(arena, self._memory.state.blocks)
        return StreamState(CudaState(arena), self._memory.state.size)

    def step(self, state: StreamState, image: Tensor, motion: MotionField | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        with self._device.current(), torch.no_grad():
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
        recorded = stream.recorded.get(key)
        if recorded is None:
            launches = self._program.bind(
                planned=planned, rfap=control.rfap, remap=control.remap, state=stream.arena.data_ptr(),
                constants=self._constants.data_ptr(),
            )  # fmt: skip
            recorded = stream.recorded[key] = Recorded(launches)
        outputs = {
            name: torch.empty(plan.value(name).shape, device=device.torch_device)
            for name in self._outputs
            if plan.value(name).grid is not None
        }
        held = self._upload(stream, image, motion, control, outputs)
        mark = device.mark()
        self._run(stream, recorded)
        end = device.mark()
        stream.held = held
        stream.shown = stream.parity ^ 1
        if control.remap:
            stream.parity = stream.shown
        stream.on_grids, stream.planned = planned, planned
        stream.uniform = control.keyframe and not planned
        device.remember(stream)
        leaves: list[Any] = []
        for leaf in plan.outputs:
            if leaf.value is None:
                leaves.append(leaf.literal)
            elif leaf.value in outputs:
                leaves.append(outputs[leaf.value])
            else:
                leaves.append(self._off_grid(stream, recorded, leaf.value).clone())
        host_ms = (time.perf_counter() - started) * 1e3
        return StepResult(leaves=leaves, counts=lambda: self._counts(stream, device.elapsed_ms(mark, end, host_ms)))

    def inspect(self, state: StreamState) -> CudaInspection:
        """See `Engine.inspect`."""
        stream: CudaState = state.data
        return CudaInspection(self.plan, self._memory, stream.arena, stream.shown, stream.planned)

    # ---- a frame

    def _upload(
        self, stream: CudaState, image: Tensor, motion: MotionField | None, control: StepControl,
        outputs: Mapping[str, Tensor],
    ) -> list[Tensor]:  # fmt: skip
        """Writes what the frame is given; returns what must live until it has run."""
        device, plan, memory = self._device, self.plan, self._memory
        held, addresses = (
            [image, *outputs.values()],
            {"motion": 0, "motion_valid": 0, "cell_px": 1, "motion_columns": 1},
        )
        if motion is not None:
            vectors = np.ascontiguousarray(motion.displacement, np.int16).view(np.uint8).reshape(-1)
            sent = device.upload(np.concatenate([vectors, motion.valid.view(np.uint8).reshape(-1)]))
            held.append(sent)
            addresses |= {"motion": sent.data_ptr(), "motion_valid": sent.data_ptr() + vectors.size}
            addresses |= {"cell_px": motion.cell_px, "motion_columns": motion.valid.shape[1]}
        work = [0] * len(plan.grids)
        for index, mask in (control.work or {}).items():
            held.append(device.upload(np.ascontiguousarray(mask, np.bool_).view(np.uint8).reshape(-1)))
            work[index] = held[-1].data_ptr()
        block = self._program.frame_block(
            image=image.data_ptr(), **addresses, scene_cut=int(control.scene_cut * plan.grids[0].cells),
            keyframe=control.keyframe, input_fresh=control.input == "fresh", parity=stream.parity,
            tau_input=control.tau_input, tau=control.tau, work=work,
            outputs=[outputs[name].data_ptr() if name in outputs else 0 for name in self._outputs],
        )  # fmt: skip
        at = memory.control.offset
        device.write(stream.arena[at : at + len(block)], np.frombuffer(block, np.uint8))
        return held

    def _run(self, stream: CudaState, recorded: Recorded) -> None:
        if recorded.graph is not None:
            recorded.graph.replay()
            return
        if recorded.ran and self._device.records and not recorded.refused:
            try:
                recorded.graph = self._device.record(lambda: self._launch(stream, recorded))
            except RuntimeError as error:  # of torch, by an op that waits for the device
                recorded.refused = True
                seen = str(error).strip().partition("\n")[0]
                warnings.warn(
                    f"frames of {self.plan.name} cannot be recorded as a CUDA graph ({seen}): they are launched one "
                    "kernel at a time, which takes longer; an island that waits for the device is the likely reason",
                    RuntimeWarning, stacklevel=6,
                )  # fmt: skip
            else:
                recorded.graph.replay()
                return
        self._launch(stream, recorded)
        recorded.ran = True

    def _launch(self, stream: CudaState, recorded: Recorded) -> None:
        queue = self._device.queue()
        for step in recorded.launches:
            if hasattr(step, "layer"):
                self._run_in_torch(stream, recorded, self._in_torch[step.layer])
            else:
                step(queue)

    def _run_in_torch(self, stream: CudaState, recorded: Recorded, layer: LayerSpec) -> None:
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
            if name in self._memory.dense_of:
                self._dense(stream, name).copy_(fresh)
            elif not self._memory.is_compared(name):
                recorded.leaves[name] = fresh
            else:
                view(stream.arena, self._memory.fresh_of[name].offset, torch.float32, fresh.shape).copy_(fresh)

    def _dense(self, stream: CudaState, name: str) -> Tensor:
        """A value as torch reads and writes it."""
        memory = self._memory
        where = memory.dense_of[name] if name in memory.dense_of else memory.cached_of[name]
        return view(stream.arena, where.offset, torch.float32, self.plan.value(name).shape)

    def _off_grid(self, stream: CudaState, recorded: Recorded, name: str) -> Tensor:
        return recorded.leaves[name] if name in recorded.leaves else self._dense(stream, name)

    # ---- maps of grids and of stores

    def _move_maps(self, stream: CudaState, planned: bool, keyframe: bool) -> None:
        """Copies the last frame's slot maps to where this frame looks for them."""
        if keyframe or planned == stream.on_grids:
            return
        for store in self._memory.stores.values():
            if self._memory.keeps_maps(store.name):
                continue
            grid, cells = self._memory.grids[store.grid], self.plan.grids[store.grid].cells
            maps = [
                view(stream.arena, where[stream.parity].offset, torch.int32, (cells,))
                for where in (store.maps, grid.maps)
            ]
            source, target = maps if planned else reversed(maps)
            target.copy_(source)

    # ---- statistics

    def _counts(self, stream: CudaState, total_ms: float) -> StepCounts:
        """Fetches what the last frame counted; waits for it."""
        memory, plan = self._memory, self.plan
        zero = memory.zero.offset
        numbers = view(stream.arena, zero, torch.int32, (memory.number_words,)).cpu().numpy()
        keyframe = bool(view(stream.arena, memory.key.offset, torch.int32, (1,)).item())

        def number(where: Any) -> int:
            return int(numbers[(where.offset - zero) // 4])

        candidates = np.zeros(len(plan.layers), np.int64)
        for index, layer in enumerate(plan.layers):
            if layer.name in self._in_torch:
                if number(memory.run_of[layer.name]):
                    off_grid = sum(name not in memory.stores for name in layer.outputs)
                    stored = [number(memory.n_of[name]) for name in layer.outputs if name in memory.stores]
                    candidates[index] = off_grid + sum(stored)
            elif layer.mode == "sparse":
                grid = memory.stores[layer.output].grid
                where = memory.n_of_grid[grid] if stream.planned else memory.n_of[layer.output]
                candidates[index] = number(where)
        pixels = plan.grids[0].cells
        return StepCounts(
            keyframe=keyframe, input_cells=pixels if keyframe else number(memory.pixel_count), candidates=candidates,
            executed=candidates > 0, total_ms=total_ms,
        )  # fmt: skip
