"""Memory of a generated C++ step, read by its generator and by its engine.

A stream has its *state*, which is all that later frames read. What a frame alone needs is *scratch*, which a step
borrows while it runs: as much as there are steps at a time, however many streams there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod


class Keep(IntEnum):
    """What a stream's state holds.

    Attributes:
      GIVEN: what is read later where the work of every frame is given (`ir.retention`); one row a cell.
      ALL: all stored values; one row a cell.
      UNMOVED: all, in the coordinates of the last keyframe: the cache, and what a frame makes of it. Two rows a cell.
    """

    GIVEN = 0
    ALL = 1
    UNMOVED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLayout:
    """A stored value: rows, a slot map, masks. Offsets in bytes, in the state where nothing else is said.

    Attributes:
      index: number of the store.
      name: of the value.
      channels: of the value.
      stride: numbers between rows.
      grid: index into `Plan.grids`.
      pools: offset of the rows, by `Keep`; of GIVEN in scratch where `passing` is set.
      passing: where all work is given, no later frame reads it.
      alone: of an island, which has a map of its own in every frame.
      map: offset of its own slot map, int32 per cell; with GIVEN only where it is alone.
      base: offset of the map of the cache, int32 per cell; with UNMOVED only.
      mask: offset of its own changed cells, a byte per cell; as `map`.
      cand: offset of its own evaluated cells, a byte per cell; as `map`.
      before: offset in scratch of the rows that the last frame left, cell by cell; -1 where nobody asks for them.
      itemsize: bytes of a number: 4 for float32, 2 for bfloat16.
    """

    index: int
    name: str
    channels: int
    stride: int
    grid: int
    pools: tuple[int, int, int]
    passing: bool
    alone: bool
    map: int
    base: int
    mask: int
    cand: int
    before: int
    itemsize: int = 4

    def row_bytes(self, cells: int) -> int:
        """Size of the rows of so many cells."""
        return cells * self.stride * self.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class GridWorkLayout:
    """Memory that stores of one grid share while all work is given.

    Attributes:
      map: offset of the slot map, int32 per cell.
      cand: offset of the cells that are evaluated, all of which count as changed: a byte per cell.
      list, rows: offsets in scratch: candidates, and their fresh rows, int32 per cell.
      old: offset in scratch of the map as the last frame left it.
      used: offset in scratch of two bytes per cell, and one more: which rows are read.
      order, first: offsets in scratch: candidates by tiles, and where tiles begin, int32 per cell, and one more.
    """

    map: int
    cand: int
    list: int
    rows: int
    old: int
    used: int
    order: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseBuffer:
    """An input or output of an island as a dense tensor: `(C, H, W)`, a vector, or as the plan has it off the grids."""

    value: str
    offset: int
    shape: tuple[int, ...]

    @property
    def floats(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """The image. Offsets in bytes, in scratch but for the mask.

    Attributes:
      fresh: this frame's pixels with the channels of each together, stored as features are.
      mask: S_0, a byte per pixel; in the state.
      flags: compact receptive-field flags, a byte per pixel.
      blocks: which blocks of `fresh` are filled, a byte per block.
      block: (y, x) pixels of a block.
    """

    fresh: int
    mask: int
    flags: int
    blocks: int
    block: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLayout:
    """The memory of one stream and of one step, as their engine reads and writes it. Offsets in bytes.

    Attributes:
      sizes: of the state, by `Keep`.
      scratch_size: of scratch.
      image: the image.
      stores: stored values by name.
      works: per grid of the plan.
      buffers: inputs and outputs on grids of islands that run in torch, by value; in scratch.
      vectors: values off the grids that a sparse layer reads, by value.
      values: values off the grids that the program computes, as they are kept, by value.
      off_grid: islands' outputs off the grids, in order.
      shares: a byte per store: it has the map and the masks of its grid.
      vector_changed: a byte per value of `off_grid`.
    """

    sizes: tuple[int, int, int]
    scratch_size: int
    image: ImageLayout
    stores: Mapping[str, StoreLayout]
    works: tuple[GridWorkLayout, ...]
    buffers: Mapping[str, DenseBuffer]
    vectors: Mapping[str, DenseBuffer]
    values: Mapping[str, DenseBuffer]
    off_grid: tuple[str, ...]
    shares: int
    vector_changed: int
