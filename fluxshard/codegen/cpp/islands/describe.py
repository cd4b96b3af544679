"""What the template is rendered with for an island that is generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fluxshard.codegen.common.islands.dense_ops import Load
from fluxshard.codegen.common.islands.lanes import TILE, Lanes
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cpp.families import IslandPort
from fluxshard.codegen.cpp.islands import code
from fluxshard.codegen.cpp.islands.emit import emit
from fluxshard.codegen.cpp.islands.generate import GeneratedIsland
from fluxshard.codegen.cpp.layout import Layout
from fluxshard.ir.step_layout import DenseBuffer

_WORTH = 16  # tiles from which on threads pay


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An input on a grid on its way to dense memory.

    Attributes:
      segments, grid, mask: of the input (`families.IslandPort`).
      to: C++ expression of where its first cell goes.
      plane: floats from channel to channel.
    """

    segments: tuple[Segment, ...]
    grid: int
    mask: str
    to: str
    plane: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePart:
    """The tiles of one grid: `[first, after)`, of `cells` lanes from `start` on."""

    grid: int
    first: int
    after: int
    start: int
    cells: int
    reads: tuple[Reading, ...]

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.after - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class TileWrite:
    """An output: `rows` of a tile, from `of` (a C++ expression), to rows `pitch` apart at `to` (in the arena)."""

    to: int
    of: str
    rows: int
    pitch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """An island tile by tile (lanes.py): `count` tiles of `lanes` lanes, with `floats` floats of buffers each."""

    count: int
    lanes: int
    floats: int
    worth: int
    parts: tuple[TilePart, ...]
    writes: tuple[TileWrite, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptValue:
    """An output off the grids.

    Attributes:
      number: index of whether it changed.
      to: offset in the arena of where it is kept.
      of: C++ expression of the fresh one, which is compared; empty where it is computed in place.
      count: floats.
      vector: how layers read it, or None.
    """

    number: int
    to: int
    of: str
    count: int
    vector: DenseBuffer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandCode:
    """Everything of one island.

    Attributes:
      scratch: offset in the arena of its buffers.
      reads: inputs on grids.
      nests: the ops.
      tiles: where it runs in tiles; `reads` is empty then.
      values: outputs off the grids.
      outputs: of outputs on grids, where the fresh one lies: a C++ expression, by value.
    """

    scratch: int
    reads: tuple[Reading, ...]
    nests: tuple[code.Nest, ...]
    tiles: Tiles | None
    values: tuple[KeptValue, ...]
    outputs: Mapping[str, str]


def describe_island(island: GeneratedIsland, layout: Layout, port: Callable[[str], IslandPort]) -> IslandCode:
    """Resolves the offsets of an island.

    Args:
      island: what to describe.
      layout: where values are kept, and the memory that islands use in turn.
      port: segments, grid and mask of an input.
    """
    buffers = island.program.buffers

    def base(index: int) -> str:
        buffer = buffers[index]
        if index in island.at_home:
            return f"(float*)(m + {layout.values[island.at_home[index]].offset})"
        if buffer.kind == "scratch":
            return f"f + {island.placement.offsets[index]}"
        if buffer.kind == "value":
            return f"(const float*)(m + {layout.values[buffer.name].offset})"
        lane = " + lane" if buffer.kind == "lanes" else ""
        return f"a->weights + {island.weights[index]}{lane}"

    def reading(load: Load) -> Reading:
        at = port(load.value)
        to = base(load.to.buffer) + (f" + {load.to.offset}" if load.to.offset else "")
        return Reading(segments=at.segments, grid=at.grid, mask=at.mask, to=to, plane=load.to.strides[0])

    off_grid = {name: index for index, name in enumerate(layout.off_grid)}
    outputs = dict(island.program.outputs)
    ops = [op for op in island.program.ops if not isinstance(op, Load)]
    return IslandCode(
        scratch=layout.islands,
        reads=tuple(reading(load) for load in island.loads),
        nests=emit(ops, base, threads=island.lanes is None),
        tiles=None if island.lanes is None else _tiles(island, island.lanes, layout, base, reading),
        values=tuple(
            KeptValue(
                number=off_grid[name], to=layout.values[name].offset, count=max(view.size, 1),
                of="" if island.lanes or view.buffer in island.at_home else base(view.buffer),
                vector=layout.vectors.get(name),
            )
            for name, view in outputs.items()
            if name in off_grid
        ),
        outputs={name: base(view.buffer) for name, view in outputs.items() if name not in off_grid},
    )  # fmt: skip


def _tiles(
    island: GeneratedIsland, lanes: Lanes, layout: Layout, base: Callable[[int], str],
    reading: Callable[[Load], Reading],
) -> Tiles:  # fmt: skip
    parts, first = [], 0
    for part in lanes.parts:
        reads = tuple(map(reading, part.loads))
        after = first - (-part.cells // TILE)
        parts.append(
            TilePart(
                grid=reads[0].grid,
                first=first,
                after=after,
                start=part.start,
                cells=part.cells,
                reads=reads,
            )
        )
        first = after
    writes = tuple(
        TileWrite(to=layout.values[name].offset, of=base(view.buffer), rows=view.shape[0], pitch=lanes.lanes)
        for name, view in lanes.program.outputs
    )
    return Tiles(
        count=first, lanes=TILE, floats=island.placement.floats, worth=_WORTH, parts=tuple(parts), writes=writes
    )
