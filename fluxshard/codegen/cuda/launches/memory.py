"""Where everything of a stream lies in one block of device memory, and what all streams share.

All offsets are fixed when code is generated: a frame allocates nothing. Blocks keep a distance, so that a sanitizer
that poisons the gaps sees every access beyond one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.axes import AxisLayout
from fluxshard.codegen.common.segments import Segment, view_segments
from fluxshard.codegen.cuda.launches.args import Args, Ptr, p
from fluxshard.geometry import Window, map_edge
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan

_GAP = 64
CONTROL_BYTES = 64
CELLS_PER_BLOCK, ROWS_PER_BLOCK = 1024, 256 * 32  # as in maps.cuh


@dataclass(slots=True)
class State:
    """Hands out blocks of a stream's state, 64-byte aligned, with a gap after each."""

    size: int = 0
    blocks: list[tuple[int, int]] = field(default_factory=list)  # offset, bytes

    def take(self, n_bytes: int) -> Ptr:
        """A new block."""
        offset = self.size
        self.blocks.append((offset, n_bytes))
        self.size = round_up(offset + max(n_bytes, 1), _GAP) + _GAP
        return Ptr("state", offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A weight in the constants: `kind` and `meta` say how (pack.py)."""

    kind: str
    weight: str
    meta: tuple[object, ...]
    offset: int
    n_bytes: int


@dataclass(slots=True)
class Constants:
    """What all streams share: tables, which are known now, and weights, which come later."""

    size: int = 0
    tables: dict[bytes, int] = field(default_factory=dict)
    packed: list[Packed] = field(default_factory=list)

    def table(self, array: NDArray[np.generic]) -> Ptr:
        """A table of numbers; equal tables are one."""
        content = np.ascontiguousarray(array).tobytes()
        if content not in self.tables:
            self.tables[content] = self._take(len(content))
        return Ptr("constants", self.tables[content])

    def weight(self, kind: str, weight: str, meta: tuple[object, ...], n_bytes: int) -> Ptr:
        """A weight in the order in which kernels read it."""
        for known in self.packed:
            if (known.kind, known.weight, known.meta) == (kind, weight, meta):
                return Ptr("constants", known.offset)
        self.packed.append(Packed(kind=kind, weight=weight, meta=meta, offset=self._take(n_bytes), n_bytes=n_bytes))
        return Ptr("constants", self.packed[-1].offset)

    def _take(self, n_bytes: int) -> int:
        offset = self.size
        self.size = round_up(offset + max(n_bytes, 1), _GAP)
        return offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A stored value: rows, two maps that take turns, masks, marks of used rows."""

    index: int
    name: str
    channels: int
    stride: int  # numbers between rows
    grid: int
    pool: Ptr
    maps: tuple[Ptr, Ptr]
    mask: Ptr
    candidates: Ptr
    used: Ptr


@dataclass(frozen=True, slots=True, kw_only=True)
class GridMemory:
    """What belongs to a grid: its displacement field, and its work where that is planned."""

    dy: Ptr
    dx: Ptr
    valid: Ptr
    src: Ptr
    still: Ptr
    work: Ptr  # the address of given cells, or 0
    maps: tuple[Ptr, Ptr]
    candidates: Ptr
    counts: Ptr
    list: Ptr
    rows: Ptr
    n: Ptr
    used: Ptr

    @property
    def field(self) -> Args:
        """As struct Field."""
        return p(self.dy, self.dx, self.valid, self.src, self.still)


@dataclass(frozen=True, slots=True)
class AxisTable:
    """One axis of a window as device tables."""

    layout: AxisLayout
    tap: Ptr
    crosses: Ptr


def used_words(cells: int) -> int:
    """Words of marks for the rows of a store."""
    return -(-2 * cells // 32)


class Memory:
    """The memory of one plan on one target.

    Args:
      plan: the network.
      target: decides the width of rows.
      dense: layers that run in torch although they need not.
    """

    def __init__(self, plan: Plan, target: CudaTarget, dense: frozenset[str]) -> None:
        self.plan = plan
        self.target = target
        self.dense = dense
        self.state = State()
        self.constants = Constants()
        self.stores: dict[str, Store] = {}
        self.segments: dict[str, tuple[Segment, ...]] = {}
        self.view_masks: dict[str, Ptr] = {}
        self._from_torch = {
            name for layer in plan.layers if self.is_dense(layer.name, layer.params) for name in layer.outputs
        }
        self._axes: dict[tuple[Window, int, int], AxisTable] = {}
        self._frame()
        self._zero()
        self._image()
        self._grids()
        self._values()
        self._scratch()

    def axis(self, window: Window, n_in: int, n_out: int) -> AxisTable:
        """Tables of an axis, shared by all layers with the same window and sizes."""
        key = window, n_in, n_out
        if key not in self._axes:
            raw, used = window.tap_table(n_out)
            mapped, inside = map_edge(raw, n_in, window.edge)
            taps = np.where(inside & used, mapped, -1).astype(np.int32)
            crosses = np.any(((raw < 0) | (raw >= n_in)) & used, axis=1, keepdims=True).astype(np.uint8)
            layout = AxisLayout(window, n_in, n_out, 0, 0)
            self._axes[key] = AxisTable(layout, self.constants.table(taps), self.constants.table(crosses))
        return self._axes[key]

    def is_dense(self, layer_name: str, params: object) -> bool:
        """Whether a layer runs in torch."""
        return isinstance(params, P.Island) or layer_name in self.dense

    def keeps_maps(self, name: str) -> bool:
        """Whether a stored value has maps of its own even with planned work: what torch gave is compared as a whole."""
        return name in self._from_torch

    def maps_of(self, store: Store, planned: bool) -> tuple[Ptr, Ptr]:
        """The slot maps that a stored value is read through."""
        return self.grids[store.grid].maps if planned and not self.keeps_maps(store.name) else store.maps

    def is_compared(self, name: str) -> bool:
        """Whether a layer reads a value off the grids: others are only handed to the caller."""
        return any(name in layer.inputs for layer in self.plan.layers)

    def _frame(self) -> None:
        """What is uploaded once a frame, in one piece."""
        plan = self.plan
        n_outputs = sum(leaf.value is not None for leaf in plan.outputs)
        sizes = (CONTROL_BYTES, round_up(4 * len(plan.layers), 8), 8 * len(plan.grids), 8 * max(n_outputs, 1))
        self.control = self.state.take(sum(sizes))
        self.frame_bytes = sum(sizes)
        self.tau = self.control + sizes[0]
        self.work = self.tau + sizes[1]
        self.outputs = self.work + sizes[2]

    def _zero(self) -> None:
        """Counts and flags that every frame starts from zero, and marks of used rows."""
        plan = self.plan
        stored = [
            plan.grids[grid].cells
            for layer in plan.layers if layer.mode != "view"
            for name in layer.outputs if (grid := plan.value(name).grid) is not None
        ]  # fmt: skip
        phases = sum(
            layer.params.stride[0] * layer.params.stride[1]
            for layer in plan.layers
            if isinstance(layer.params, P.ConvTranspose2d)
        )
        outputs = [name for layer in plan.layers for name in layer.outputs]
        off_grid = sum(plan.value(name).grid is None for name in outputs)
        self.number_words = 1 + len(outputs) + len(plan.layers) + phases + off_grid + len(plan.grids)
        words = sum(map(used_words, stored)) + sum(used_words(grid.cells) for grid in plan.grids)
        self.zero_words = self.number_words + words
        self.zero = self.state.take(4 * self.zero_words)
        self._zero_at = 0
        self.key = self.state.take(4)
        self.still = self.state.take(4 * len(plan.grids))
        self.pixel_count = self.take_zero(1)
        self.n_of = {name: self.take_zero(1) for layer in plan.layers for name in layer.outputs}
        self.run_of = {layer.name: self.take_zero(1) for layer in plan.layers}
        self.n_of_grid = [self.take_zero(1) for _ in plan.grids]
        # values off the grids: whether they changed
        self.changed_of = {name: self.take_zero(1) for name in outputs if plan.value(name).grid is None}
        self.phase_counts = {
            layer.name: self.take_zero(layer.params.stride[0] * layer.params.stride[1])
            for layer in plan.layers
            if isinstance(layer.params, P.ConvTranspose2d)
        }

    def take_zero(self, words: int) -> Ptr:
        """Words that every frame starts from zero."""
        at = self.zero + 4 * self._zero_at
        self._zero_at += words
        assert self._zero_at <= self.zero_words
        return at

    def _image(self) -> None:
        _, channels, height, width = self.plan.value(self.plan.input).shape
        pixels = height * width
        self.image_channels = channels
        self.image_stride = round_up(channels, 4)
        self.image_buffers = (
            self.state.take(4 * pixels * self.image_stride),
            self.state.take(4 * pixels * self.image_stride),
        )
        self.fed = self.state.take(self.target.itemsize * pixels * self.image_stride + 16)
        self.image_mask = self.state.take(pixels)
        self.compact_changes, self.compact_flags = self.state.take(pixels), self.state.take(pixels)
        self.segments[self.plan.input] = (Segment(-1, 0, channels, 1, 1, width),)

    def _grids(self) -> None:
        self.grids: list[GridMemory] = []
        take = self.state.take
        for index, grid in enumerate(self.plan.grids):
            n = grid.cells
            self.grids.append(
                GridMemory(
                    dy=take(2 * n), dx=take(2 * n), valid=take(n), src=take(4 * n), still=self.still + 4 * index,
                    work=self.work + 8 * index, maps=(take(4 * n), take(4 * n)), candidates=take(n),
                    counts=take(4 * (n // CELLS_PER_BLOCK + 1)), list=take(4 * n), rows=take(4 * n),
                    n=self.n_of_grid[index], used=self.take_zero(used_words(n)),
                )
            )  # fmt: skip

    def _values(self) -> None:
        plan, take = self.plan, self.state.take
        self.fresh_of: dict[str, Ptr] = {}  # values off the grids: what an island gave, as float32
        self.cached_of: dict[str, Ptr] = {}  # ... what layers read
        self.dense_of: dict[str, Ptr] = {}  # values on grids as (C, H, W) for and from islands
        for layer in plan.layers:
            if layer.mode == "view":
                inputs = [self.segments[name] for name in layer.inputs]
                self.segments[layer.output] = view_segments(layer.params, inputs)
                if isinstance(layer.params, P.UpsampleNearest):
                    self.view_masks[layer.output] = take(plan.grid_of(layer.output).cells)
                continue
            for name in layer.outputs:
                value = plan.value(name)
                if value.grid is None:
                    n_bytes = 4 * int(np.prod(value.shape))
                    self.fresh_of[name], self.cached_of[name] = take(n_bytes), take(n_bytes)
                    continue
                n, stride = plan.grids[value.grid].cells, round_up(value.channels, self.target.lanes)
                self.stores[name] = Store(
                    index=len(self.stores), name=name, channels=value.channels, stride=stride, grid=value.grid,
                    pool=take(2 * n * stride * self.target.itemsize), maps=(take(4 * n), take(4 * n)), mask=take(n),
                    candidates=take(n), used=self.take_zero(used_words(n)),
                )  # fmt: skip
                width = plan.grids[value.grid].width
                self.segments[name] = (Segment(self.stores[name].index, 0, value.channels, 1, 1, width),)
            if self.is_dense(layer.name, layer.params):
                for name in (*layer.inputs, *layer.outputs):
                    if plan.value(name).grid is not None and name not in self.dense_of:
                        self.dense_of[name] = take(4 * int(np.prod(plan.value(name).shape)))
        self.by_index = list(self.stores.values())

    def _scratch(self) -> None:
        most = max(grid.cells for grid in self.plan.grids)
        self.list, self.rows = self.state.take(4 * most), self.state.take(4 * most)
        self.counts = self.state.take(4 * (most // CELLS_PER_BLOCK + 1))
        self.winner = self.state.take(4 * most)
