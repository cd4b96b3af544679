"""Allocates a plan for a target: the memory of a stream, the scratch of a step, and the blob of weights.

It is the first of two steps. The second, lowering.py, describes the generated program and allocates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fluxshard.codegen.common.arena import ALIGN, Arena, round_up
from fluxshard.codegen.common.axes import AxisLayout
from fluxshard.codegen.common.segments import Segment, view_segments
from fluxshard.codegen.cpp.layout import FieldLayout, Flags, Layout, PackedWeight, ScratchLayout
from fluxshard.geometry import Window
from fluxshard.ir.kernel import Target
from fluxshard.ir.params import Cat, UpsampleNearest
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.retention import Span, read_at_once
from fluxshard.ir.step_layout import DenseBuffer, GridWorkLayout, ImageLayout, StoreLayout

IMAGE_BLOCK = 8, 16  # pixels (y, x) of the image that are put in order at once: whole cache lines of floats


class Allocator:
    """Hands out memory of one plan, and in the end says where everything lies.

    Args:
      plan: the network.
      target: rows hold whole vectors of its numbers.
    """

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.target = target
        self.state = Arena()
        self.scratch = Arena()
        self.axes: list[AxisLayout] = []
        self._segments: dict[str, tuple[Segment, ...]] = {}
        self._stores: dict[str, LayerSpec] = {}
        self._upsampled: set[int] = set()  # stores of which a view is upsampled
        self._vectors: dict[str, DenseBuffer] = {}
        self._buffers: dict[str, DenseBuffer] = {}
        self._values: dict[str, DenseBuffer] = {}
        self._view_masks: dict[str, int] = {}
        self._flags: list[Flags] = []
        self._packed: list[PackedWeight] = []
        self._islands = self._island_bytes = 0
        self._weight_floats = 0
        take = self.scratch.take
        self._fields = tuple(
            FieldLayout(take(2 * n), take(2 * n), take(n), take(4 * n)) for n in (grid.cells for grid in plan.grids)
        )
        self._image = self._take_image()
        self._off_grid = self._take_values()
        self._vector_changed = self.state.take(len(self._off_grid))
        self._shares = self.state.take(len(self._stores))
        self._works = self._take_works()
        most = max(grid.cells for grid in plan.grids)
        widest = max((self._row_bytes(name) for name in self._stores), default=0)
        self._scratch = ScratchLayout(
            list=take(4 * (most + 16)), rows=take(4 * (most + 16)), pick=take(4 * (most + 16)),
            old=take(4 * (most + 16)), tiles=take(4 * (most + 16)), used=take(2 * most + 1), fresh=take(widest + ALIGN),
        )  # fmt: skip

    def segments_of(self, name: str) -> tuple[Segment, ...]:
        """What a value reads."""
        return self._segments[name]

    def axis(self, window: Window, n_in: int, n_out: int) -> int:
        """Index of an axis, shared by all layers with the same window and sizes."""
        for index, axis in enumerate(self.axes):
            if (axis.window, axis.n_in, axis.n_out) == (window, n_in, n_out):
                return index
        taps = max(1, *(len(row) for row in window.offsets))
        self.axes.append(AxisLayout(window, n_in, n_out, self.scratch.take(4 * n_out * taps), self.scratch.take(n_out)))
        return len(self.axes) - 1

    def axes_of(self, layer: LayerSpec) -> tuple[int, int]:
        """Indices (y, x) of a layer's axes."""
        assert layer.windows is not None
        grid_in, grid_out = self.plan.grid_of(layer.inputs[0]), self.plan.grid_of(layer.output)
        return (
            self.axis(layer.windows[0], grid_in.height, grid_out.height),
            self.axis(layer.windows[1], grid_in.width, grid_out.width),
        )

    def flag(self, grid_in: int, grid_out: int, axis_y: int, axis_x: int) -> int:
        """Index of a receptive-field check, shared by all layers with the same grids and axes.

        Args:
          grid_in: index of the grid of the layer's input.
          grid_out: index of that of its output.
          axis_y: index of the vertical axis.
          axis_x: index of the horizontal one.
        """
        key = (grid_in, grid_out, axis_y, axis_x)
        for index, known in enumerate(self._flags):
            if (known.grid_in, known.grid_out, known.axis_y, known.axis_x) == key:
                return index
        self._flags.append(Flags(*key, self.scratch.take(self.plan.grids[grid_out].cells)))
        return len(self._flags) - 1

    def pack(self, kind: str, names: tuple[str, ...], meta: tuple[int, ...], floats: int) -> int:
        """Offset in floats of a packed weight; equal ones are one.

        Args:
          kind: which packing (pack.py).
          names: of the weights that go into it.
          meta: numbers that the packing depends on.
          floats: size of the result.
        """
        for known in self._packed:
            if (known.kind, known.names, known.meta) == (kind, names, meta):
                return known.offset
        offset = self._weight_floats
        self._packed.append(PackedWeight(kind=kind, names=names, meta=meta, offset=offset, floats=floats))
        self._weight_floats = round_up(offset + floats, 16)
        return offset

    def buffer(self, name: str) -> DenseBuffer:
        """The dense tensor of a value on a grid that an island reads or fills."""
        if name not in self._buffers:
            shape = self.plan.value(name).shape[1:]
            offset = self.scratch.take(4 * int(np.prod(shape)))
            self._buffers[name] = DenseBuffer(value=name, offset=offset, shape=shape)
        return self._buffers[name]

    def vector(self, name: str) -> DenseBuffer:
        """A value off the grids that sparse layers read, as wide as the widest of them."""
        if name not in self._vectors:
            # one number for all channels may be read by layers of different widths
            widest = max(
                self.plan.value(other.output).channels for other in self.plan.layers if name in other.inputs[1:]
            )
            offset = self.state.take(4 * round_up(widest, 64))
            self._vectors[name] = DenseBuffer(value=name, offset=offset, shape=(widest,))
        return self._vectors[name]

    def value(self, name: str) -> DenseBuffer:
        """A value off the grids that the program computes, as it is kept from frame to frame."""
        if name not in self._values:
            shape = self.plan.value(name).shape
            # whole vectors are read, the last number's too
            offset = self.state.take(4 * int(np.prod(shape)) + ALIGN)
            self._values[name] = DenseBuffer(value=name, offset=offset, shape=shape)
        return self._values[name]

    def islands(self, floats: int) -> None:
        """Takes the memory that generated islands use in turn."""
        self._island_bytes = 4 * floats
        self._islands = self.scratch.take(self._island_bytes)

    def layout(self) -> Layout:
        """Where everything lies; nothing may be taken afterwards."""
        stores, sizes = self._place_stores()
        return Layout(
            sizes=sizes, scratch_size=self.scratch.size, image=self._image, stores=stores, works=self._works,
            buffers=self._buffers, vectors=self._vectors, values=self._values, off_grid=self._off_grid,
            shares=self._shares, vector_changed=self._vector_changed, segments=self._segments,
            view_masks=self._view_masks, axes=tuple(self.axes), flags=tuple(self._flags), fields=self._fields,
            scratch=self._scratch, islands=self._islands, island_bytes=self._island_bytes, packed=tuple(self._packed),
            weight_floats=self._weight_floats,
        )  # fmt: skip

    def _row_bytes(self, name: str) -> int:
        """Size of a value's rows, one for every cell."""
        row = round_up(self.plan.value(name).channels, self.target.vector_floats)
        return self.target.itemsize * self.plan.grid_of(name).cells * row

    def _place_stores(self) -> tuple[dict[str, StoreLayout], tuple[int, int, int]]:
        """Rows, maps and masks, which come last: the state is as long as what it keeps. And its three sizes."""
        alone = {name for name, layer in self._stores.items() if layer.mode == "dense"}
        passing = self._place_passing(read_at_once(self.plan))
        own = {name: self._take_own(self.state, name) for name in self._stores if name in alone}
        given, every = Arena(self.state.size), Arena(self.state.size)
        own |= {name: self._take_own(every, name) for name in self._stores if name not in alone}
        unmoved = Arena(every.size)
        stores = {}
        for index, name in enumerate(self._stores):
            size, value = self._row_bytes(name), self.plan.value(name)
            assert value.grid is not None
            map_, mask, cand = own[name]
            in_given = passing[name] if name in passing else given.take(size + ALIGN)
            stores[name] = StoreLayout(
                index=index, name=name, channels=value.channels,
                stride=round_up(value.channels, self.target.vector_floats), grid=value.grid,
                pools=(in_given, every.take(size + ALIGN), unmoved.take(2 * size + ALIGN)), passing=name in passing,
                alone=name in alone, map=map_, base=unmoved.take(4 * self.plan.grid_of(name).cells), mask=mask,
                cand=cand, before=self.scratch.take(size + ALIGN) if index in self._upsampled else -1,
                itemsize=self.target.itemsize,
            )  # fmt: skip
        return stores, (given.size, every.size, unmoved.size)

    def _take_own(self, arena: Arena, name: str) -> tuple[int, int, int]:
        """A map, a mask and candidates."""
        cells = self.plan.grid_of(name).cells
        return arena.take(4 * cells), arena.take(cells), arena.take(cells)

    def _place_passing(self, spans: Mapping[str, Span]) -> dict[str, int]:
        """Offsets in scratch of rows that only one frame reads: those that are not needed at the same time share it."""
        placed: dict[str, tuple[int, int]] = {}
        for name in sorted(spans, key=lambda one: (-self._row_bytes(one), spans[one].first)):
            size, at = round_up(self._row_bytes(name) + ALIGN, ALIGN), 0
            for start, end in sorted(placed[other] for other in placed if spans[other].meets(spans[name])):
                if at + size <= start:
                    break
                at = max(at, end)
            placed[name] = at, at + size
        block = self.scratch.take(max((end for _, end in placed.values()), default=0))
        return {name: block + start for name, (start, _) in placed.items()}

    def _take_image(self) -> ImageLayout:
        take = self.scratch.take
        _, channels, height, width = self.plan.value(self.plan.input).shape
        pixels = height * width
        self._segments[self.plan.input] = (Segment(-1, 0, channels, 1, 1, width),)
        return ImageLayout(
            fresh=take(self.target.itemsize * (pixels * round_up(channels, 4) + ALIGN)),
            mask=self.state.take(pixels), flags=take(pixels),
            blocks=take(-(-height // IMAGE_BLOCK[0]) * -(-width // IMAGE_BLOCK[1])),
            block=IMAGE_BLOCK,
        )  # fmt: skip

    def _take_values(self) -> tuple[str, ...]:
        """Stores and views; returns the values off the grids."""
        off_grid = []
        for layer in self.plan.layers:
            if layer.mode == "view":
                inputs = [self._segments[name] for name in layer.inputs]
                self._segments[layer.output] = view_segments(layer.params, inputs)
                if isinstance(layer.params, Cat | UpsampleNearest):
                    self._view_masks[layer.output] = self.scratch.take(self.plan.grid_of(layer.output).cells)
                if isinstance(layer.params, UpsampleNearest):
                    self._upsampled |= {segment.store for segment in inputs[0]}
                continue
            for name in layer.outputs:
                value = self.plan.value(name)
                if value.grid is None:
                    off_grid.append(name)
                    continue
                self._segments[name] = (
                    Segment(len(self._stores), 0, value.channels, 1, 1, self.plan.grids[value.grid].width),
                )
                self._stores[name] = layer
        return tuple(off_grid)

    def _take_works(self) -> tuple[GridWorkLayout, ...]:
        stored = {self.plan.value(name).grid for name in self._stores}
        cells = [grid.cells if index in stored else 0 for index, grid in enumerate(self.plan.grids)]
        keep, take = self.state.take, self.scratch.take
        return tuple(
            GridWorkLayout(
                map=keep(4 * n),
                cand=keep(n),
                list=take(4 * (n + 16)),
                rows=take(4 * (n + 16)),
                old=take(4 * n),
                used=take(2 * n + 1),
                order=take(4 * (n + 16)),
                first=take(4 * (n + 16)),
            )
            for n in cells
        )
