"""Hands out memory: blocks of a stream's state and of its input cache, and the constants that all streams share.

All offsets are fixed when code is generated: a frame allocates nothing. Blocks keep a distance, so that a sanitizer
that poisons the gaps sees every access beyond one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.axes import AxisLayout
from fluxshard.codegen.common.segments import Segment, view_segments
from fluxshard.geometry import Window, map_edge
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.ir.stream_layout import GridMemory, InputLayout, Ptr, Region, Store, StreamLayout

_GAP = 64
CONTROL_BYTES = 64
CELLS_PER_BLOCK, ROWS_PER_BLOCK = 1024, 256 * 32  # as in maps.cuh

Segments = dict[str, tuple[Segment, ...]]  # where the channels of each value lie


@dataclass(slots=True)
class State:
    """Hands out blocks of a stream's memory, 64-byte aligned, with a gap after each."""

    region: Region = "state"
    size: int = 0
    blocks: list[tuple[int, int]] = field(default_factory=list)  # offset, bytes

    def take(self, n_bytes: int) -> Ptr:
        """A new block."""
        offset = self.size
        self.blocks.append((offset, n_bytes))
        self.size = round_up(offset + max(n_bytes, 1), _GAP) + _GAP
        return Ptr(self.region, offset)


@dataclass(frozen=True, slots=True)
class StateBlocks:
    """A block of a stream's memory: bytes of all, and offset and bytes of each part."""

    size: int
    blocks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A weight in the constants: `kind` and `meta` say how (pack.py)."""

    kind: str
    weight: str
    meta: tuple[object, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class AxisTable:
    """One axis of a window as device tables."""

    layout: AxisLayout
    tap: Ptr
    crosses: Ptr


@dataclass(frozen=True, slots=True)
class ConstantBlocks:
    """Memory that all streams share.

    Attributes:
      size: bytes of all.
      tables: contents that are known now, with their offsets.
      packed: weights, whose contents come later.
    """

    size: int
    tables: Mapping[bytes, int]
    packed: tuple[Packed, ...]


@dataclass(slots=True)
class Constants:
    """Hands out memory for constants; equal ones are one."""

    size: int = 0
    tables: dict[bytes, int] = field(default_factory=dict)
    packed: list[Packed] = field(default_factory=list)
    axes: dict[tuple[Window, int, int], AxisTable] = field(default_factory=dict)

    def table(self, array: NDArray[np.generic]) -> Ptr:
        """A table of numbers."""
        content = np.ascontiguousarray(array).tobytes()
        if content not in self.tables:
            self.tables[content] = self._take(len(content))
        return Ptr("constants", self.tables[content])

    def weight(self, kind: str, weight: str, meta: tuple[object, ...], n_bytes: int) -> Ptr:
        """A weight in the order in which kernels read it; equal ones are one.

        Args:
          kind: which order (pack.py).
          weight: its name.
          meta: numbers that the order depends on.
          n_bytes: size of the result.
        """
        for known in self.packed:
            if (known.kind, known.weight, known.meta) == (kind, weight, meta):
                return Ptr("constants", known.offset)
        self.packed.append(Packed(kind=kind, weight=weight, meta=meta, offset=self._take(n_bytes), n_bytes=n_bytes))
        return Ptr("constants", self.packed[-1].offset)

    def axis(self, window: Window, n_in: int, n_out: int) -> AxisTable:
        """Tables of an axis, shared by all layers with the same window and sizes."""
        key = window, n_in, n_out
        if key not in self.axes:
            raw, used = window.tap_table(n_out)
            mapped, inside = map_edge(raw, n_in, window.edge)
            taps = np.where(inside & used, mapped, -1).astype(np.int32)
            crosses = np.any(((raw < 0) | (raw >= n_in)) & used, axis=1, keepdims=True).astype(np.uint8)
            layout = AxisLayout(window, n_in, n_out, 0, 0)
            self.axes[key] = AxisTable(layout, self.table(taps), self.table(crosses))
        return self.axes[key]

    def _take(self, n_bytes: int) -> int:
        offset = self.size
        self.size = round_up(offset + max(n_bytes, 1), _GAP)
        return offset


def used_words(cells: int) -> int:
    """Words of marks for the rows of a store."""
    return -(-2 * cells // 32)


def lay_out(
    plan: Plan, target: CudaTarget, in_torch: frozenset[str], state: State, inputs: State
) -> tuple[StreamLayout, Segments]:
    """Memory for the values of a plan.

    Args:
      plan: the network.
      target: decides the stored type and the stride of rows.
      in_torch: layers that run in torch.
      state: gives the memory of the state.
      inputs: gives that of the input cache.

    Returns:
      the layout, and where the channels of each value lie.
    """
    n_outputs = sum(leaf.value is not None for leaf in plan.outputs)
    sizes = (CONTROL_BYTES, round_up(4 * len(plan.layers), 8), 8 * len(plan.grids), 8 * max(n_outputs, 1))
    control = state.take(sum(sizes))
    tau = control + sizes[0]
    work = tau + sizes[1]
    counts = _Counts(plan, state)
    key = state.take(8)
    names = [name for layer in plan.layers for name in layer.outputs]
    n_of = {name: counts.take(1) for name in names}
    run_of = {layer.name: counts.take(1) for layer in plan.layers}
    n_of_grid = tuple(counts.take(1) for _ in plan.grids)
    changed_of = {name: counts.take(1) for name in names if plan.value(name).grid is None}
    phase_counts = {name: counts.take(phases) for name, phases in _phases(plan).items()}

    image_mask, compact_changes, compact_flags = (state.take(plan.grids[0].cells) for _ in range(3))
    given = _lay_out_input(plan, target, inputs)
    grids = _grids(plan, state, inputs, counts, work, given.still, n_of_grid)
    compared = frozenset(name for layer in plan.layers for name in layer.inputs if plan.value(name).grid is None)
    values = _Values(plan, target, in_torch, compared, state, counts)
    most = max(grid.cells for grid in plan.grids)
    layout = StreamLayout(
        target=target, input=given, control=control, control_bytes=sum(sizes), tau=tau, work=work,
        outputs=work + sizes[2],
        zero=counts.zero, zero_words=counts.words, number_words=counts.number_words, key=key, pixel_count=key + 4,
        n_of=n_of, run_of=run_of, n_of_grid=n_of_grid, changed_of=changed_of, phase_counts=phase_counts,
        image_mask=image_mask, compact_changes=compact_changes, compact_flags=compact_flags, grids=grids,
        stores=values.stores, view_masks=values.view_masks, fresh_of=values.fresh_of, cached_of=values.cached_of,
        dense_of=values.dense_of, in_torch=in_torch,
        from_torch=frozenset(name for layer in plan.layers if layer.name in in_torch for name in layer.outputs),
        compared=compared,
        list=state.take(4 * most), rows=state.take(4 * most), counts=state.take(4 * (most // CELLS_PER_BLOCK + 1)),
        winner=state.take(4 * most),
    )  # fmt: skip
    return layout, values.segments


def _lay_out_input(plan: Plan, target: CudaTarget, inputs: State) -> InputLayout:
    _, channels, height, width = plan.value(plan.input).shape
    pixels, stride = height * width, round_up(channels, 4)
    control, key = inputs.take(CONTROL_BYTES + 8), inputs.take(8)
    return InputLayout(
        control=control, control_bytes=CONTROL_BYTES + 8, given=control + CONTROL_BYTES, key=key, pixel_count=key + 4,
        still=inputs.take(4 * len(plan.grids)), channels=channels, stride=stride,
        buffers=(inputs.take(4 * pixels * stride), inputs.take(4 * pixels * stride)),
        fed=inputs.take(target.itemsize * pixels * stride + 16), mask=inputs.take(pixels),
        winner=inputs.take(4 * pixels),
    )  # fmt: skip


def _phases(plan: Plan) -> dict[str, int]:
    """Output phases of each transposed convolution."""
    return {
        layer.name: layer.params.stride[0] * layer.params.stride[1]
        for layer in plan.layers
        if isinstance(layer.params, P.ConvTranspose2d)
    }


class _Counts:
    """Hands out words that every frame starts from zero: counts and flags, then marks of used rows."""

    def __init__(self, plan: Plan, state: State) -> None:
        stored = [
            plan.grids[grid].cells
            for layer in plan.layers if layer.mode != "view"
            for name in layer.outputs if (grid := plan.value(name).grid) is not None
        ]  # fmt: skip
        outputs = [name for layer in plan.layers for name in layer.outputs]
        off_grid = sum(plan.value(name).grid is None for name in outputs)
        phases = sum(_phases(plan).values())
        self.number_words = len(outputs) + len(plan.layers) + phases + off_grid + len(plan.grids)
        marks = sum(map(used_words, stored)) + sum(used_words(grid.cells) for grid in plan.grids)
        self.words = self.number_words + marks
        self.zero = state.take(4 * self.words)
        self._at = 0

    def take(self, words: int) -> Ptr:
        """The next words."""
        at = self.zero + 4 * self._at
        self._at += words
        assert self._at <= self.words
        return at


def _grids(
    plan: Plan, state: State, inputs: State, counts: _Counts, work: Ptr, still: Ptr, n_of_grid: tuple[Ptr, ...]
) -> tuple[GridMemory, ...]:
    grids, take, field_of = [], state.take, inputs.take
    for index, grid in enumerate(plan.grids):
        n = grid.cells
        grids.append(
            GridMemory(
                dy=field_of(2 * n), dx=field_of(2 * n), valid=field_of(n), src=field_of(4 * n), still=still + 4 * index,
                axes=(field_of(4 * grid.height), field_of(4 * grid.width)),
                work=work + 8 * index, maps=(take(4 * n), take(4 * n)), candidates=take(n),
                counts=take(4 * (n // CELLS_PER_BLOCK + 1)), list=take(4 * n), rows=take(4 * n),
                n=n_of_grid[index], used=counts.take(used_words(n)),
            )
        )  # fmt: skip
    return tuple(grids)


class _Values:
    """Memory of every value: see `StreamLayout` for the attributes."""

    def __init__(
        self, plan: Plan, target: CudaTarget, in_torch: frozenset[str], compared: frozenset[str], state: State,
        counts: _Counts,
    ) -> None:  # fmt: skip
        take, width = state.take, plan.value(plan.input).shape[3]
        self.stores: dict[str, Store] = {}
        self.view_masks: dict[str, Ptr] = {}
        self.fresh_of: dict[str, Ptr] = {}
        self.cached_of: dict[str, Ptr] = {}
        self.dense_of: dict[str, Ptr] = {}
        self.segments: Segments = {plan.input: (Segment(-1, 0, plan.value(plan.input).channels, 1, 1, width),)}
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
                    self.cached_of[name] = take(n_bytes)
                    if name in compared:
                        self.fresh_of[name] = take(n_bytes)
                    continue
                n, stride = plan.grids[value.grid].cells, round_up(value.channels, target.lanes)
                self.stores[name] = Store(
                    index=len(self.stores), name=name, channels=value.channels, stride=stride, grid=value.grid,
                    pool=take(2 * n * stride * target.itemsize), maps=(take(4 * n), take(4 * n)), mask=take(n),
                    candidates=take(n), used=counts.take(used_words(n)),
                )  # fmt: skip
                width = plan.grids[value.grid].width
                self.segments[name] = (Segment(self.stores[name].index, 0, value.channels, 1, 1, width),)
            if layer.name in in_torch:
                for name in (*layer.inputs, *layer.outputs):
                    if plan.value(name).grid is not None and name not in self.dense_of:
                        self.dense_of[name] = take(4 * int(np.prod(plan.value(name).shape)))
