"""Memory of a generated C++ step: the state of each stream, and scratch that steps borrow while they run."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.ir.plan import Plan
from fluxshard.ir.step_layout import DenseBuffer, Keep, StateLayout, StoreLayout
from fluxshard.runtime.engines.engine import Mask

_IDLE_BLOCKS = 4  # that wait for the next steps; more are made where more run at a time, and given back


class Memory(Protocol):
    """What a program says of its memory."""

    @property
    def layout(self) -> StateLayout:
        """Offsets in a state, and in scratch."""
        ...

    def new_state(self, keep: Keep) -> NDArray[np.uint8]:
        """A stream's state before its first frame, which is a keyframe."""
        ...

    def new_scratch(self) -> NDArray[np.uint8]:
        """What a step has to itself while it runs."""
        ...


@dataclass(slots=True)
class CppState:
    """State of one stream.

    Attributes:
      keep: what the arena holds.
      arena: the program's memory of the stream.
      cached: values off the grids: in the arena, where the program computes them.
      args: of the program; what is the same for all frames is filled in.
      outputs: addresses of the tensors that the program writes, in order.
      alive: what else `args` point to.
      tau, thresholds: those of the last frame, as they were given and as the program reads them.
      failure: what an island's callback has raised in this frame.
    """

    keep: Keep
    arena: NDArray[np.uint8]
    cached: dict[str, Tensor]
    args: Any
    outputs: NDArray[np.uint64]
    alive: tuple[object, ...]
    tau: tuple[float, ...] | None = None
    thresholds: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    failure: BaseException | None = None

    def hold(self, keep: Keep, arena: NDArray[np.uint8], layout: StateLayout) -> None:
        """Takes another arena in place of the one before."""
        self.keep, self.arena, self.cached = keep, arena, values_in(arena, layout)
        self.args.arena, self.args.keeps = arena.ctypes.data, keep


def values_in(arena: NDArray[np.uint8], layout: StateLayout) -> dict[str, Tensor]:
    """Values off the grids that the program computes, where they are kept."""
    return _tensors(arena, layout.values, batch=False)


def forget_unread(state: CppState, plan: Plan, layout: StateLayout) -> None:
    """Clears rows that no cell of the cache reads: the next frame writes them before it reads them."""
    seen = CppInspection(plan, layout, state.arena, state.keep)
    for name, store in layout.stores.items():
        slots = seen.slots(name)
        if slots is None or state.keep is Keep.UNMOVED or (state.keep is Keep.GIVEN and store.passing):
            continue
        unread = np.ones(slots.size, np.bool_)
        unread[slots.ravel()] = False
        if unread.any():
            view(state.arena, store.pools[state.keep], np.uint8, (slots.size, store.row_bytes(1)))[unread] = 0


@dataclass(frozen=True, slots=True)
class Scratch:
    """A block that one step has to itself.

    Attributes:
      memory: all of it.
      buffers: inputs and outputs on the grids of islands that run in torch.
    """

    memory: NDArray[np.uint8]
    buffers: dict[str, Tensor]


@dataclass(slots=True)
class ScratchBlocks:
    """Scratch of one program: a block for every step that runs at a time, whichever stream it belongs to.

    Attributes:
      program: what the blocks are for.
    """

    program: Memory
    _idle: list[Scratch] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def borrowed(self) -> Iterator[Scratch]:
        """A block that nobody else has meanwhile."""
        with self._lock:
            block = self._idle.pop() if self._idle else None
        if block is None:
            memory = self.program.new_scratch()
            block = Scratch(memory, _tensors(memory, self.program.layout.buffers, batch=True))
        try:
            yield block
        finally:
            with self._lock:
                if len(self._idle) < _IDLE_BLOCKS:
                    self._idle.append(block)

    @property
    def idle(self) -> int:
        """Blocks that wait for a step."""
        return len(self._idle)


@dataclass(frozen=True, slots=True)
class CppInspection:
    """See `Inspection`: reads the state through the program's layout.

    A stream whose work is always given does not keep values that no later frame reads: they are None.
    """

    plan: Plan
    layout: StateLayout
    arena: NDArray[np.uint8]
    keep: Keep

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.plan!r})"

    @property
    def rows_in_place(self) -> bool:
        """See `Inspection.rows_in_place`."""
        return True

    def input_mask(self) -> Mask:
        """See `Inspection.input_mask`."""
        return view(self.arena, self.layout.image.mask, np.bool_, self.plan.image_size).copy()

    def candidates(self, layer: str) -> Mask | None:
        """See `Inspection.candidates`."""
        spec = self.plan.layer(layer)
        return self._cells(spec.output, "cand") if spec.mode == "sparse" else None

    def mask(self, value: str) -> Mask | None:
        """See `Inspection.mask`."""
        return self._cells(value, "mask")

    def slots(self, value: str) -> NDArray[np.int32] | None:
        """See `Inspection.slots`; the row of a value that was not kept is where another one is now."""
        store = self.layout.stores.get(value)
        if store is None:
            return None
        grid = self.plan.grids[store.grid]
        at = self.layout.works[store.grid].map if self._shares(store) else store.map
        return view(self.arena, at, np.int32, (grid.height, grid.width)).copy()

    def value(self, value: str) -> Tensor | None:
        """See `Inspection.value`."""
        store, slots = self.layout.stores.get(value), self.slots(value)
        if store is None or slots is None or (self.keep is Keep.GIVEN and store.passing):
            return None
        kind = np.float32 if store.itemsize == 4 else np.uint16
        capacity = slots.size * (2 if self.keep is Keep.UNMOVED else 1)
        pool = view(self.arena, store.pools[self.keep], kind, (capacity, store.stride))
        rows = pool[slots.ravel(), : store.channels]
        if store.itemsize == 2:  # bfloat16: the upper half of a float32
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        return torch.from_numpy(np.ascontiguousarray(rows.T)).view(1, store.channels, *slots.shape)

    def _shares(self, store: StoreLayout) -> bool:
        return bool(self.arena[self.layout.shares + store.index])

    def _cells(self, value: str, kind: str) -> Mask | None:
        store = self.layout.stores.get(value)
        if store is None:
            return None
        grid = self.plan.grids[store.grid]
        at = self.layout.works[store.grid].cand if self._shares(store) else getattr(store, kind)
        return view(self.arena, at, np.bool_, (grid.height, grid.width)).copy()


def view(memory: NDArray[np.uint8], offset: int, kind: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Numbers of a kind in a block of memory."""
    count = math.prod(shape) * np.dtype(kind).itemsize
    found: NDArray[Any] = memory[offset : offset + count].view(kind).reshape(shape)
    return found


def _tensors(memory: NDArray[np.uint8], buffers: Mapping[str, DenseBuffer], *, batch: bool) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(view(memory, one.offset, np.float32, (1, *one.shape) if batch else one.shape))
        for name, one in buffers.items()
    }
