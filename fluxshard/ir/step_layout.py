"""Memory layout of a stream's state in a generated C++ step, read by its generator and by its engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLayout:
    """A stored value: two rows a cell, two slot maps that take turns, masks. Offsets in bytes.

    Attributes:
      index: number of the store.
      name: of the value.
      channels: of the value.
      stride: numbers between rows.
      grid: index into `Plan.grids`.
      pool: offset of the rows.
      map0, map1: offsets of the slot maps, int32 per cell.
      mask: offset of the changed cells, a byte per cell.
      cand: offset of the evaluated cells, a byte per cell.
      itemsize: bytes of a number: 4 for float32, 2 for bfloat16.
    """

    index: int
    name: str
    channels: int
    stride: int
    grid: int
    pool: int
    map0: int
    map1: int
    mask: int
    cand: int
    itemsize: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GridWorkLayout:
    """Memory that stores of one grid share while all work is given: two slot maps, candidates and their fresh rows.

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
    """The image. Offsets in bytes.

    Attributes:
      fresh: this frame's pixels with the channels of each together, stored as features are.
      mask: S_0, a byte per pixel.
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
    """The memory of one stream, as its engine reads and writes it. Offsets in bytes.

    Attributes:
      image: the image.
      stores: stored values by name.
      works: per grid of the plan.
      buffers: inputs and outputs on grids of islands that run in torch, by value.
      vectors: values off the grids that a sparse layer reads, by value.
      values: values off the grids that the program computes, as they are kept, by value.
      off_grid: islands' outputs off the grids, in order.
      current: which map is the last frame's, int32 per store.
      shares: a byte per store: it has the maps of its grid.
      vector_changed: a byte per value of `off_grid`.
    """

    image: ImageLayout
    stores: Mapping[str, StoreLayout]
    works: tuple[GridWorkLayout, ...]
    buffers: Mapping[str, DenseBuffer]
    vectors: Mapping[str, DenseBuffer]
    values: Mapping[str, DenseBuffer]
    off_grid: tuple[str, ...]
    current: int
    shares: int
    vector_changed: int
