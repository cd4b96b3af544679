"""Runs a plan through its generated program: one call per frame; a callback runs islands that are not generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import KernelError, StateError
from fluxshard.ir.params import Island
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.step_layout import Keep, StateLayout
from fluxshard.motion import MotionField
from fluxshard.ops.reference import IslandProgram
from fluxshard.runtime.engines.cpp_memory import (
    CppInspection,
    CppState,
    Memory,
    Scratch,
    ScratchBlocks,
    forget_unread,
    view,
)
from fluxshard.runtime.engines.engine import StepControl, StepCounts, StepResult, StreamState
from fluxshard.runtime.level_motion import LevelMotion, Motion, motion_of
from fluxshard.runtime.parking import Block, Bytes, Planes
from fluxshard.runtime.reuse.compare import close
from fluxshard.runtime.reuse.cpp_input_cache import CppInput, CppInputCache, InputProgram
from fluxshard.runtime.reuse.input_cache import InputOptions, stale_input

Leaf = Tensor | bool | int | float | str | None
_RFAP = {"off": 0, "compact": 1, "per_layer": 2}


class StepProgram(Memory, Protocol):
    """The loaded program of an engine; `codegen.StepLibrary` is one."""

    @property
    def in_torch(self) -> Mapping[str, str]:
        """Islands that the callback is called for, in order, and why; by layer."""
        ...

    def pack_weights(self, weights: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        """All weights in one blob."""
        ...

    def input_program(self) -> InputProgram:
        """The program of the input caches that belong to this one; compiled at the first call."""
        ...

    def new_args(self) -> Any:
        """An empty argument block."""
        ...

    def callback(self, function: Any) -> Any:
        """A Python function as an island callback."""
        ...

    def step(self, args: Any) -> None:
        """Runs one frame."""
        ...

    @property
    def itemsize(self) -> int:
        """Bytes of a stored number."""
        ...

    def split(self, numbers: Bytes, planes: Bytes) -> None:
        """See `parking.Planes`."""
        ...

    def join(self, planes: Bytes, numbers: Bytes) -> None:
        """See `parking.Planes`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Island:
    """An island, ready to run: its index in the plan, and weights by role."""

    index: int
    layer: LayerSpec
    program: IslandProgram
    weights: Mapping[str, Tensor]


class CppEngine:
    """See the module's docstring.

    Args:
      plan: what to run.
      program: generated from the same plan.
      weights: by name.
      tuned: by layer, the tile that was measured to be faster than the rule's; for people.
    """

    name = "cpp"
    torch_device = torch.device("cpu")

    def __init__(
        self, plan: Plan, program: StepProgram, weights: Mapping[str, Tensor], tuned: Mapping[str, str] | None = None
    ) -> None:
        self.plan = plan
        self.tuned = dict(tuned or {})
        self._program = program
        self._layout = program.layout
        self._off_grid = {name: index for index, name in enumerate(self._layout.off_grid)}
        self._islands = [
            _Island(
                index=index,
                layer=layer,
                program=IslandProgram(layer.params.steps),
                weights={role: weights[name] for role, name in layer.weights},
            )
            for index, layer in enumerate(plan.layers)
            if isinstance(layer.params, Island) and layer.name in program.in_torch
        ]
        self._blocks = ScratchBlocks(program)
        self._blob = program.pack_weights({name: tensor.numpy() for name, tensor in weights.items()})
        self._read_later = {name for layer in plan.layers for name in layer.inputs}
        self._leaves: list[Leaf] = [leaf.literal for leaf in plan.outputs]  # None where there are values
        self._filled = [  # outputs that the program writes
            (index, plan.value(leaf.value).shape)
            for index, leaf in enumerate(plan.outputs)
            if leaf.value and (plan.value(leaf.value).grid is not None or leaf.value in self._layout.values)
        ]
        filled = {index for index, _ in self._filled}
        self._cloned = [
            (index, leaf.value) for index, leaf in enumerate(plan.outputs) if leaf.value and index not in filled
        ]

    @property
    def layout(self) -> StateLayout:
        """Where everything lies in the memory of a stream, and of a step."""
        return self._layout

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        data = self._new_data(Keep.GIVEN if given else Keep.ALL)
        return StreamState(data, data.arena.nbytes)

    def _new_data(self, keep: Keep) -> CppState:
        arena, args = self._program.new_state(keep), self._program.new_args()
        outputs, changed = np.zeros(len(self._filled), np.uint64), np.zeros(len(self.plan.layers), np.int64)
        args.weights, args.outputs, args.changed = (one.ctypes.data for one in (self._blob, outputs, changed))
        data = CppState(keep, arena, {}, args, outputs, (changed, self._blob))
        data.hold(keep, arena, self._layout)
        return data

    def new_input_cache(self, options: InputOptions) -> CppInputCache:
        """See `Engine.new_input_cache`."""
        return CppInputCache(self._program.input_program(), options)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        with self._blocks.borrowed() as scratch:
            if not (self._islands or self._cloned):  # torch computes nothing
                return self._step(state, image, motion, control, scratch)
            with torch.no_grad():
                return self._step(state, image, motion, control, scratch)

    def _step(
        self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl, scratch: Scratch
    ) -> StepResult:
        data: CppState = state.data
        args, data.failure = data.args, None
        candidates, leaves = np.zeros(len(self.plan.layers), np.int64), list(self._leaves)  # views have none
        for number, (index, shape) in enumerate(self._filled):
            tensor = leaves[index] = torch.empty(shape)
            data.outputs[number] = tensor.data_ptr()
        if control.tau is not data.tau:
            data.tau, data.thresholds = control.tau, np.asarray(control.tau, np.float32)
            args.tau = data.thresholds.ctypes.data
        if image.dtype == torch.uint8:
            args.image, args.bytes, args.byte_steps[:] = None, image.data_ptr(), image.stride()[1:]
            args.byte_values = control.pixels.table.ctypes.data
        else:
            args.image, args.bytes = image.data_ptr(), None
        alive = self._set_motion(args, motion), self._set_work(args, control)
        keyframe = _set_input(args, control)
        self._fit(state, control, keyframe)
        args.scratch = scratch.memory.ctypes.data
        args.keyframe, args.rfap, args.remap = keyframe, _RFAP[control.rfap], control.remap
        args.candidates, args.threads = candidates.ctypes.data, torch.get_num_threads()
        if self._islands:
            args.island = self._program.callback(lambda _, number: self._run_island(data, scratch, number))
        try:
            self._program.step(args)
        except KernelError as error:
            raise KernelError(f"{error}: {data.failure}") from data.failure
        finally:
            if self._islands:  # args and callback hold each other, and through them the stream's memory
                args.island = type(args.island)()
        del alive
        for index, name in self._cloned:
            leaves[index] = data.cached[name].clone(memory_format=torch.contiguous_format)
        numbers = args.input_cells, args.total_ns, args.conv_ns, args.island_ns  # the next frame has others
        return StepResult(leaves=leaves, counts=lambda: _counts(keyframe, candidates, *numbers))

    def inspect(self, state: StreamState) -> CppInspection:
        """See `Engine.inspect`."""
        return CppInspection(self.plan, self._layout, state.data.arena, state.data.keep)

    def blocks(self, state: StreamState) -> tuple[Block, ...]:
        """See `ParkingEngine.blocks`."""
        data: CppState = state.data
        forget_unread(data, self.plan, self._layout)
        return (Block(data.arena, Planes(self._program.itemsize, self._program.split, self._program.join)),)

    def _fit(self, state: StreamState, control: StepControl, keyframe: bool) -> None:
        """Makes sure that a stream keeps what a frame reads; a keyframe reads nothing.

        Raises:
          StateError: the frame asks for more than is there.
        """
        data: CppState = state.data
        if not control.remap:
            if data.keep is Keep.UNMOVED:
                return
            if not keyframe:
                raise StateError(
                    "this stream's cache moves with the content: before a frame that leaves it where it was "
                    "(remap=False), run a keyframe with remap=False"
                )
            data.hold(Keep.UNMOVED, self._program.new_state(Keep.UNMOVED), self._layout)
            state.n_bytes = data.arena.nbytes
        elif data.keep is Keep.GIVEN and not keyframe:
            missing = sorted({store.grid for store in self._layout.stores.values()} - set(control.work or ()))
            if missing:
                raise StateError(
                    f"this stream keeps only what frames read whose work is given, and no work is given for grids "
                    f"{missing}: give the cells of every grid, or make the stream with given=False"
                )

    def _set_motion(self, args: Any, motion: Motion | None) -> object:
        """Returns what has to live until the program has read it."""
        image_motion = motion_of(motion, 0)
        args.grid_motion = args.grid_motion_valid = None
        if image_motion is None:
            args.motion = args.motion_valid = None
            return None
        args.motion = image_motion.displacement.ctypes.data
        args.motion_valid = image_motion.valid.ctypes.data
        args.cell_px, args.motion_columns = image_motion.cell_px, image_motion.valid.shape[1]
        if not isinstance(motion, LevelMotion):
            return None
        tables = _tables([motion.of_grid(index) for index in range(len(self.plan.grids))])
        args.grid_motion, args.grid_motion_valid = (table.ctypes.data for table in tables)
        return tables

    def _set_work(self, args: Any, control: StepControl) -> object:
        """Returns what has to live until the program has read it."""
        if control.work is None:
            args.work = None
            return None
        kept = {index: np.ascontiguousarray(mask, np.bool_) for index, mask in control.work.items()}
        pointers = np.zeros(len(self.plan.grids), np.uint64)
        for index, mask in kept.items():
            pointers[index] = mask.ctypes.data
        args.work = pointers.ctypes.data
        return kept, pointers

    def _run_island(self, data: CppState, scratch: Scratch, number: int) -> int:
        """Called from the generated program; must not raise."""
        island = self._islands[number]
        try:
            self._evaluate(data, scratch, island, bool(data.args.keyframe), float(data.thresholds[island.index]))
        except Exception as error:  # an exception cannot cross the C frame: it is kept, and raised by step()
            data.failure = error
            return 1
        return 0

    def _evaluate(self, data: CppState, scratch: Scratch, island: _Island, keyframe: bool, tau: float) -> None:
        names = dict(island.weights)
        for name in island.layer.inputs:
            names[name] = scratch.buffers[name] if name in scratch.buffers else data.cached[name]
        given = {tensor.untyped_storage().data_ptr() for tensor in names.values()}
        results = island.program(names)
        for name in island.layer.outputs:
            fresh = results[name]
            assert isinstance(fresh, Tensor)
            if name in scratch.buffers:
                scratch.buffers[name].copy_(fresh)
                continue
            cached = data.cached.get(name)
            new = keyframe or cached is None or name not in self._read_later or not close(fresh, cached, tau)
            if new or cached is None:
                # what an island gives back may be what it was given, under another shape
                data.cached[name] = fresh.clone() if fresh.untyped_storage().data_ptr() in given else fresh
            data.arena[self._layout.vector_changed + self._off_grid[name]] = new
            vector = self._layout.vectors.get(name)
            if vector is not None and new:
                flat = fresh.reshape(-1)
                target = view(data.arena, vector.offset, np.float32, vector.shape)
                target[:] = flat.numpy() if flat.numel() > 1 else flat.item()


def _counts(
    keyframe: bool, candidates: NDArray[np.int64], input_cells: int, total_ns: int, conv_ns: int, island_ns: int
) -> StepCounts:
    return StepCounts(
        keyframe=keyframe,
        input_cells=input_cells,
        candidates=candidates,
        executed=candidates > 0,
        total_ms=total_ns / 1e6,
        conv_ms=conv_ns / 1e6,
        island_ms=island_ns / 1e6,
    )


def _set_input(args: Any, control: StepControl) -> bool:
    """Takes what an input cache has assembled, where there is one; returns whether the frame is a keyframe."""
    given = control.input
    if given is None:
        args.fed = args.input_mask = None
        return control.keyframe
    if not isinstance(given, CppInput):
        seen = type(given).__name__
        raise StateError(f"the input was assembled by another backend ({seen}): take this engine's")
    if given.serial != given.latest.serial:
        raise stale_input()
    args.fed, args.input_mask, args.input_cells = given.fed, given.changed.ctypes.data, given.pixels
    args.field.dy, args.field.dx, args.field.valid = given.dy, given.dx, given.valid
    args.field.source, args.field.still = given.source, given.still
    return given.keyframe


def _tables(fields: Sequence[MotionField]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Where the displacements of every grid lie, and where it is said which are valid."""
    displacements = np.array([field.displacement.ctypes.data for field in fields], np.uint64)
    return displacements, np.array([field.valid.ctypes.data for field in fields], np.uint64)
