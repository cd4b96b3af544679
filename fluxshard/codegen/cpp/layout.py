"""Where everything of a stream's state lies in one block of memory, and where every weight lies in the packed blob.

All offsets are known when code is generated: the step allocates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fluxshard.codegen.common.arena import ALIGN, Arena, round_up
from fluxshard.codegen.common.axes import AxisLayout
from fluxshard.codegen.common.segments import Segment, view_segments
from fluxshard.geometry import Window
from fluxshard.ir.params import Cat, UpsampleNearest
from fluxshard.ir.plan import Plan

IMAGE_BLOCK = 8, 16  # pixels (y, x) of the image that are put in order at once: whole cache lines of floats


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLayout:
    """A stored value: rows, two maps that take turns, masks. Offsets in bytes."""

    index: int
    name: str
    channels: int
    stride: int  # floats between rows
    grid: int
    pool: int
    map0: int
    map1: int
    mask: int
    cand: int


@dataclass(frozen=True, slots=True)
class Flags:
    """The window rule of one (grid in, grid out, windows), shared by all its layers."""

    grid_in: int
    grid_out: int
    axis_y: int
    axis_x: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A weight in the blob: `kind` and `meta` say how (pack.py); offset in floats."""

    kind: str
    names: tuple[str, ...]
    meta: tuple[int, ...]
    offset: int
    floats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GridWorkLayout:
    """What stores of one grid share while all work is given: two slot maps, candidates and their fresh rows.

    Attributes:
      map0, map1, list, rows: offsets of int32 per cell.
      base: offset of which map the cache is.
    """

    map0: int
    map1: int
    base: int
    list: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseBuffer:
    """An island's input or output as a dense tensor in the arena: `(C, H, W)`, or a vector of `channels`."""

    value: str
    offset: int
    shape: tuple[int, ...]


@dataclass(slots=True)
class Layout:
    """The memory of one plan on one target; built by `lay_out`."""

    arena: Arena
    stores: dict[str, StoreLayout] = field(default_factory=dict)
    segments: dict[str, tuple[Segment, ...]] = field(default_factory=dict)
    view_masks: dict[str, int] = field(default_factory=dict)  # offset of the mask of views that have one of their own
    axes: list[AxisLayout] = field(default_factory=list)
    flags: list[Flags] = field(default_factory=list)
    fields: list[tuple[int, int, int, int]] = field(default_factory=list)  # dy, dx, valid, src per grid
    packed: list[Packed] = field(default_factory=list)
    buffers: dict[str, DenseBuffer] = field(default_factory=dict)  # islands' inputs and outputs on grids
    vectors: dict[str, DenseBuffer] = field(default_factory=dict)  # values off the grids that a sparse layer reads
    off_grid: list[str] = field(default_factory=list)  # islands' outputs off the grids, in order
    image: dict[str, int] = field(default_factory=dict)
    image_block: tuple[int, int] = IMAGE_BLOCK
    scratch: dict[str, int] = field(default_factory=dict)
    bases: int = 0
    current: int = 0  # which map is the last frame's, per store
    vector_changed: int = 0
    shares: int = 0  # a byte per store: it has the maps of its grid
    works: list[GridWorkLayout] = field(default_factory=list)  # per grid
    weight_floats: int = 0

    def axis(self, window: Window, n_in: int, n_out: int) -> int:
        """Index of an axis, shared by all layers with the same window and sizes."""
        for index, axis in enumerate(self.axes):
            if (axis.window, axis.n_in, axis.n_out) == (window, n_in, n_out):
                return index
        taps = max(1, *(len(row) for row in window.offsets))
        self.axes.append(AxisLayout(window, n_in, n_out, self.arena.take(4 * n_out * taps), self.arena.take(n_out)))
        return len(self.axes) - 1

    def flag(self, grid_in: int, grid_out: int, axis_y: int, axis_x: int, cells: int) -> int:
        """Index of a window rule."""
        key = (grid_in, grid_out, axis_y, axis_x)
        for index, known in enumerate(self.flags):
            if (known.grid_in, known.grid_out, known.axis_y, known.axis_x) == key:
                return index
        self.flags.append(Flags(*key, self.arena.take(cells)))
        return len(self.flags) - 1

    def pack(self, kind: str, names: tuple[str, ...], meta: tuple[int, ...], floats: int) -> int:
        """Offset in floats of a packed weight."""
        for known in self.packed:
            if (known.kind, known.names, known.meta) == (kind, names, meta):
                return known.offset
        offset = self.weight_floats
        self.packed.append(Packed(kind=kind, names=names, meta=meta, offset=offset, floats=floats))
        self.weight_floats = round_up(offset + floats, 16)
        return offset


def lay_out(plan: Plan, vector_floats: int) -> Layout:
    """Lays out grids, stores, views and the image; layers add what they need."""
    layout = Layout(Arena())
    arena = layout.arena
    cells_max = max(grid.cells for grid in plan.grids)
    for grid in plan.grids:
        n = grid.cells
        layout.fields.append((arena.take(2 * n), arena.take(2 * n), arena.take(n), arena.take(4 * n)))
    _, channels, height, width = plan.value(plan.input).shape
    stride = round_up(channels, 4)
    pixels = height * width
    layout.image["fresh"] = arena.take(4 * (pixels * stride + ALIGN))
    for name in ("mask", "flags"):
        layout.image[name] = arena.take(pixels)
    layout.image["blocks"] = arena.take(-(-height // IMAGE_BLOCK[0]) * -(-width // IMAGE_BLOCK[1]))
    layout.segments[plan.input] = (Segment(-1, 0, channels, 1, 1, width),)
    off_grid = []
    for layer in plan.layers:
        if layer.mode == "view":
            _view(plan, layout, layer.params, layer.inputs, layer.output)
            continue
        for name in layer.outputs:
            value = plan.value(name)
            if value.grid is None:
                off_grid.append(name)
                continue
            grid = plan.grids[value.grid]
            n, row = grid.cells, round_up(value.channels, vector_floats)
            store = StoreLayout(
                index=len(layout.stores), name=name, channels=value.channels, stride=row, grid=value.grid,
                pool=arena.take(4 * (2 * n * row + ALIGN)), map0=arena.take(4 * n), map1=arena.take(4 * n),
                mask=arena.take(n), cand=arena.take(n),
            )  # fmt: skip
            layout.stores[name] = store
            layout.segments[name] = (Segment(store.index, 0, value.channels, 1, 1, grid.width),)
    layout.off_grid = off_grid
    layout.current = arena.take(4 * len(layout.stores))
    layout.bases = arena.take(4 * len(layout.stores))
    layout.vector_changed = arena.take(len(off_grid))
    layout.shares = arena.take(len(layout.stores))
    stored = {store.grid for store in layout.stores.values()}
    for index, grid in enumerate(plan.grids):
        n = grid.cells if index in stored else 0
        layout.works.append(
            GridWorkLayout(
                map0=arena.take(4 * n), map1=arena.take(4 * n), base=arena.take(4), list=arena.take(4 * (n + 16)),
                rows=arena.take(4 * (n + 16)),
            )
        )  # fmt: skip
    layout.scratch = {
        "list": arena.take(4 * (cells_max + 16)),
        "rows": arena.take(4 * (cells_max + 16)),
        "pick": arena.take(4 * (cells_max + 16)),
        "used": arena.take(2 * cells_max),
    }
    return layout


def _view(plan: Plan, layout: Layout, params: object, inputs: tuple[str, ...], output: str) -> None:
    layout.segments[output] = view_segments(params, [layout.segments[name] for name in inputs])
    if isinstance(params, Cat | UpsampleNearest):
        layout.view_masks[output] = layout.arena.take(plan.grid_of(output).cells)
