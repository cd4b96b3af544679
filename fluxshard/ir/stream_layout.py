"""Memory layout of one video stream on a device: offsets, fixed when code is generated.

A stream has two blocks: its state, which holds features, and its input cache, which holds the image, S_0 and the
displacement fields. The CUDA code generator makes a layout, and the engine reads counts, masks, slot maps and features
through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fluxshard.ir.kernel import CudaTarget

Region = Literal["state", "input", "constants", "test"]

FIRST_SHARD_COUNT = 4  # numbers of a proposal before those of grids


@dataclass(frozen=True, slots=True)
class Ptr:
    """An address: an offset in bytes into a stream's state, input cache or image test, or into what all share."""

    region: Region
    offset: int

    def __add__(self, n_bytes: int) -> Ptr:
        return Ptr(self.region, self.offset + n_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A stored value: a pool of rows, and the slot map that finds the row of each cell.

    Attributes:
      index: position among all stores.
      name: of the value.
      channels: of the value.
      stride: numbers from one row to the next.
      grid: index of its grid.
      pool: two rows per cell, in the stored type.
      maps: slot maps, int32 `(H, W)`; frames read one and write the other, in turns.
      mask: cells whose value changed, one byte each.
      candidates: cells that were computed, one byte each.
      used: one bit per row of the pool.
    """

    index: int
    name: str
    channels: int
    stride: int
    grid: int
    pool: Ptr
    maps: tuple[Ptr, Ptr]
    mask: Ptr
    candidates: Ptr
    used: Ptr


@dataclass(frozen=True, slots=True, kw_only=True)
class GridMemory:
    """Memory of a grid: its displacement field, in the input cache, and its cells where the work is planned.

    Attributes:
      dy, dx: displacement in cells, int16 `(H, W)`.
      valid: cells whose source is inside, one byte each.
      src: cell that each cell's features come from, int32 `(H, W)`.
      still: int32; whether the field is zero everywhere.
      axes: int32 `(H)` and `(W)`: where the motion of a row and of a column lies, added up; in the input cache.
      work: address of the given mask, or 0; part of the control block.
      maps: slot maps of all values of the grid in a planned frame; as in `Store`.
      candidates: cells that were computed, one byte each.
      counts: candidates per block of cells.
      list: the candidates in raster order.
      rows: the free rows that they get.
      n: int32; how many candidates there are.
      used: one bit per row.
    """

    dy: Ptr
    dx: Ptr
    valid: Ptr
    src: Ptr
    still: Ptr
    axes: tuple[Ptr, Ptr]
    work: Ptr
    maps: tuple[Ptr, Ptr]
    candidates: Ptr
    counts: Ptr
    list: Ptr
    rows: Ptr
    n: Ptr
    used: Ptr


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCall:
    """A layer that runs in torch, between kernel launches: it reads and writes the dense tensors of `StreamLayout`."""

    layer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputControl:
    """Fields that the host writes once a proposal, at `InputLayout.control`.

    Attributes:
      image, motion, motion_valid: device addresses; motion 0 where nothing moved.
      scene_cut: most pixels that may change before the frame recomputes everything.
      cell_px, motion_columns: of the motion field.
      keyframe: recompute everything.
      fresh: feed the whole new frame.
      parity: which image buffer the cache stands for.
      tau: threshold on pixels.
      given: address of the pixels to recompute in place of those that differ, or 0.
      motion_starts: address of the first cell of every grid in the motion field, or 0: all move by the same.
    """

    image: int
    motion: int
    motion_valid: int
    scene_cut: int
    cell_px: int
    motion_columns: int
    keyframe: bool
    fresh: bool
    parity: int
    tau: float
    given: int
    motion_starts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameControl:
    """Fields that the host writes once a frame, at `StreamLayout.control`.

    Attributes:
      parity: which slot maps are the last frame's.
      tau: thresholds; one per layer.
      work: address of the given mask per grid, or 0.
      outputs: address of each output tensor, in order; 0 for those off the grids.
    """

    parity: int
    tau: Sequence[float]
    work: Sequence[int]
    outputs: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardControl:
    """Fields that the host writes once a proposal of an image test.

    Attributes:
      image: device address of `(C, H, W)` float32; or 0, and
      bytes, steps: address of uint8, and how far apart its channels, rows and pixels are.
      motion, known: addresses of the hint's displacements and of where they are known; 0 where nothing moved.
      out: address of the proposal's memory.
      low, scale: 0..255 is `(value - low) * scale`.
      cell_px, motion_columns: of the hint.
      dominant: its most frequent displacement, (dy, dx), for a hint that goes on its own: kernels find that of others.
      searches: displacements other than the hint are tried: 0 for none, 2 where `dominant` is one of them, else 1.
      has_regions: `focus` was called.
      hold_frames, margin_cells, wait_frames, refresh_frames: of `PlannedOptions`, the margin in cells of 8 px.
      parity: which of two pictures, ages and lags are the last frame's.
    """

    image: int
    bytes: int
    steps: tuple[int, int, int]
    motion: int
    known: int
    out: int
    low: float
    scale: float
    cell_px: int
    motion_columns: int
    dominant: tuple[int, int]
    searches: int
    has_regions: bool
    hold_frames: int
    margin_cells: int
    wait_frames: int
    refresh_frames: int
    parity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLayout:
    """Where what an image test proposes lies in its memory, which is new for every proposal.

    Numbers come first, int32: whether a pixel is not finite, whether a level strays from the hint, whether by more than
    fields hold, nothing; from `FIRST_SHARD_COUNT` on how many cells of each grid are recomputed, then whether any of
    them moves.

    Attributes:
      grids: of the plan that are counted, from the first on.
      shards: uint8, the masks of all levels, one after another; right behind the numbers.
      head_bytes: of all that the host reads of every proposal.
      moved: int16 `(levels + 1, rows, columns, 2)`: pixels that the image's cells move by, and those of each level.
      sourced: uint8 `(levels + 1, rows, columns)`: where that is known.
      cells: uint8, cells of every planned grid that are recomputed, one grid after another.
      size: bytes of all.
    """

    grids: int
    shards: int
    head_bytes: int
    moved: int
    sourced: int
    cells: int
    size: int

    @property
    def numbers(self) -> int:
        """How many numbers there are."""
        return FIRST_SHARD_COUNT + 2 * self.grids


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLayout:
    """The memory of the input cache of one stream; the displacement fields of `GridMemory` lie there, too.

    Attributes:
      control: the block that is written once a proposal, of `control_bytes`; `given` is a part of it.
      given: address of the given pixels, or 0.
      key: int32; the frame recomputes everything.
      pixel_count: int32; pixels that differ or are given, right after `key`; 0 where a keyframe is asked for.
      still: int32 per grid; see `GridMemory`.
      channels, stride: of the image's rows.
      buffers: float32 rows of the new image and of the one that the cache stands for, in turns.
      fed: rows of what the network reads, in the stored type.
      mask: S_0, one byte per pixel.
      winner: scratch, int32 per pixel.
    """

    control: Ptr
    control_bytes: int
    given: Ptr
    key: Ptr
    pixel_count: Ptr
    still: Ptr
    channels: int
    stride: int
    buffers: tuple[Ptr, Ptr]
    fed: Ptr
    mask: Ptr
    winner: Ptr


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLayout:
    """The memory of one stream of one plan.

    Attributes:
      target: decides the stored type and the stride of rows.
      input: of the input cache.
      control: the block that is written once a frame, of `control_bytes`; `tau`, `work` and `outputs` are parts of it.
      tau: float32 per layer.
      work: address of the given mask per grid.
      outputs: address of each output tensor.
      zero: `zero_words` int32 that every frame starts from zero; the first `number_words` are counts and flags.
      key, pixel_count: the input cache's for the last frame, as copies.
      n_of: int32 by stored value; candidates.
      run_of: int32 by layer; whether an island, or another layer in torch, had to run.
      n_of_grid: int32 per grid; candidates of a planned frame.
      changed_of: int32 by value off the grids; whether it changed.
      phase_counts: int32 per output phase, by transposed convolution.
      image_mask: S_0 of the last frame, one byte per pixel, as a copy.
      compact_changes, compact_flags: scratch and result of the compact receptive-field check, one byte per pixel.
      grids: per grid.
      stores: by name, in the order of `Store.index`.
      view_masks: mask of each upsampled view.
      fresh_of: what torch gave, by value off the grids that is compared; float32.
      cached_of: what layers read, or a generated island gave, by value off the grids; float32.
      dense_of: values on grids as float32 `(C, H, W)`, for and from layers in torch.
      in_torch: layers that run in torch.
      from_torch: stored values that torch gives.
      compared: values off the grids that a layer reads; others are only handed to the caller.
      list, rows, counts, winner: scratch, for the grid with most cells.
    """

    target: CudaTarget
    input: InputLayout
    control: Ptr
    control_bytes: int
    tau: Ptr
    work: Ptr
    outputs: Ptr
    zero: Ptr
    zero_words: int
    number_words: int
    key: Ptr
    pixel_count: Ptr
    n_of: Mapping[str, Ptr]
    run_of: Mapping[str, Ptr]
    n_of_grid: tuple[Ptr, ...]
    changed_of: Mapping[str, Ptr]
    phase_counts: Mapping[str, Ptr]
    image_mask: Ptr
    compact_changes: Ptr
    compact_flags: Ptr
    grids: tuple[GridMemory, ...]
    stores: Mapping[str, Store]
    view_masks: Mapping[str, Ptr]
    fresh_of: Mapping[str, Ptr]
    cached_of: Mapping[str, Ptr]
    dense_of: Mapping[str, Ptr]
    in_torch: frozenset[str]
    from_torch: frozenset[str]
    compared: frozenset[str]
    list: Ptr
    rows: Ptr
    counts: Ptr
    winner: Ptr

    @property
    def by_index(self) -> tuple[Store, ...]:
        """Stores in order."""
        return tuple(self.stores.values())

    def keeps_maps(self, name: str) -> bool:
        """Whether a stored value has slot maps of its own in planned frames: what torch gave is compared as a whole."""
        return name in self.from_torch

    def shares_maps(self, store: Store, planned: bool) -> bool:
        """Whether a frame reads a stored value through the slot maps of its grid."""
        return planned and not self.keeps_maps(store.name)

    def maps_of(self, store: Store, planned: bool) -> tuple[Ptr, Ptr]:
        """The slot maps that a stored value is read through."""
        return self.grids[store.grid].maps if self.shares_maps(store, planned) else store.maps
