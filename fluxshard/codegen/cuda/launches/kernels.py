"""Parameters of every kernel of the CUDA backend: frozen, complete, and all that its template reads.

The generated text is the cache key, so kernels with equal parameters are one kernel, in one model or in many.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.islands.lanes import TILE
from fluxshard.options import DType

# Blocks that registers must leave room for on a multiprocessor. Said explicitly, or ptxas aims at more and spills.
_MIN_BLOCKS = 2

Math = Literal["ffma", "m16n8k16", "m16n8k8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Segments that stand one after another, read in units of `vec` numbers.

    Attributes:
      counts: channels of each.
      vec: numbers that one load takes; every segment begins at a multiple of it.
    """

    counts: tuple[int, ...]
    vec: int

    @property
    def starts(self) -> tuple[int, ...]:
        """First channel of each segment, and the number of all."""
        return tuple(sum(self.counts[:n]) for n in range(len(self.counts) + 1))

    @property
    def unit_starts(self) -> tuple[int, ...]:
        """As `starts`, with every segment padded to whole units: positions along K."""
        padded = [round_up(count, self.vec) for count in self.counts]
        return tuple(sum(padded[:n]) for n in range(len(padded) + 1))


NOTHING = Inputs(counts=(), vec=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The epilogue: `act_after(act(row + bias) + residual)`; `numbers` are float32 literals of both activations."""

    channels: int
    act: str = "NONE"
    act_after: str = "NONE"
    numbers: tuple[str, str, str, str] = ("0.0f", "0.0f", "0.0f", "0.0f")
    bias: bool = False
    slope: bool = False
    residual: Inputs = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class FewTile:
    """What a GEMM takes instead of its tile where few cells are computed; attributes as in `GemmTile`.

    `bn` divides that of the tile, so that packed weights serve both; the block has as many threads.
    """

    bm: int
    bn: int
    stages: int
    wm: int
    wn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmTile:
    """Tile of a GEMM. All of it can be tuned without changing a result, but for `splits`, which cuts its sums.

    Attributes:
      bm, bn, bk: cells, channels and depth of a tile.
      stages: tiles in flight between global and shared memory.
      wm, wn: warps along cells and channels.
      tn: channels per thread, where products are summed one at a time.
      splits: parts that a sum is cut into, a power of two; one block makes several in turn where tiles suffice.
      slots: blocks that are to be kept busy.
      table: gathered rows are listed in shared memory before the sums begin.
      few: smaller tiles for few cells; None where there are none.
    """

    bm: int
    bn: int
    bk: int
    stages: int
    wm: int
    wn: int
    tn: int = 4
    splits: int = 1
    slots: int = 1
    table: bool = True
    few: FewTile | None = None

    @property
    def threads(self) -> int:
        """Threads per block."""
        return self.wm * self.wn * 32

    @property
    def shapes(self) -> tuple[GemmTile | FewTile, ...]:
        """The tile, and that for few cells."""
        return (self,) if self.few is None else (self, self.few)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """A convolution without groups, or one output phase of a transposed one."""

    family = "gemm"
    dtype: DType
    math: Math
    tile: GemmTile
    taps_y: int
    taps_x: int
    inputs: Inputs
    finish: Finish

    @property
    def threads(self) -> int:
        """Threads per block."""
        return self.tile.threads

    @property
    def min_blocks(self) -> int:
        """See `_MIN_BLOCKS`; 64 sums a thread and their operands take more registers than two blocks of 256 leave."""
        t = self.tile
        sums = t.bm * t.bn // t.threads * (2 if t.splits > 1 else 1)  # those of a part, and those of all
        if self.math == "ffma":
            return 1 if sums >= 64 else _MIN_BLOCKS
        return 3 if sums <= 64 and t.threads <= 128 else _MIN_BLOCKS

    @property
    def depth(self) -> int:
        """Numbers that a sum runs over, padding of segments included."""
        return self.taps_y * self.taps_x * self.inputs.unit_starts[-1]

    @property
    def steps(self) -> int:
        """Tiles along the depth."""
        return -(-self.depth // self.tile.bk)

    @property
    def tiles_n(self) -> int:
        """Tiles along the channels."""
        return -(-self.finish.channels // self.tile.bn)

    @property
    def most_few(self) -> int:
        """Cells up to which tiles for few cells are taken: all of them can run at a time. 0 where there are none."""
        few = self.tile.few
        return 0 if few is None else max(self.tile.slots // -(-self.finish.channels // few.bn), 1) * few.bm

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory; gemm.cuh lays it out."""
        return max(map(self._shared_bytes, self.tile.shapes))

    def _shared_bytes(self, t: GemmTile | FewTile) -> int:
        bk, itemsize = self.tile.bk, 4 if self.dtype == "float32" else 2
        pitch = bk + 16 // itemsize if self.math == "ffma" else bk
        table = self.taps_y * self.taps_x * len(self.inputs.counts) * t.bm if self.tile.table else 0
        return max(t.stages * (t.bm + t.bn) * pitch * itemsize, t.bm * (t.bn + 8) * 4) + 4 * (table + 3 * t.bm)

    def tiles(self, cells: int) -> int:
        """Tiles where all cells are candidates."""
        return -(-cells // self.tile.bm) * self.tiles_n

    def blocks(self, cells: int) -> int:
        """Most blocks that there can be work for, whatever share of the cells is computed."""
        return max(
            self._tiles(t, cells) * (1 if t is self.tile and self.tile.few else self.tile.splits)
            for t in self.tile.shapes
        )

    def partial_bytes(self, cells: int) -> int:
        """Scratch for parts of sums: as long as there are no more than `parts_in_turn` of gemm.cuh allows."""
        splits = self.tile.splits
        if splits == 1:
            return 0
        most = [4 * t.bm * t.bn * min(4 * self.tile.slots, self._tiles(t, cells) * splits) for t in self.tile.shapes]
        return max(most)

    def counter_bytes(self, cells: int) -> int:
        """Scratch for the number of parts that are there, per tile."""
        return 4 * max(self._tiles(t, cells) for t in self.tile.shapes)

    def _tiles(self, t: GemmTile | FewTile, cells: int) -> int:
        return -(-cells // t.bm) * -(-self.finish.channels // t.bn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Anything else that makes rows: `op` is a function of rows.cuh, `numbers` its constants by name."""

    family = "rows"
    min_blocks = _MIN_BLOCKS
    dtype: DType
    op: str
    inputs: Inputs
    other: Inputs = NOTHING
    finish: Finish
    taps_y: int = 1
    taps_x: int = 1
    numbers: tuple[tuple[str, int], ...] = ()
    literal: str = "0.0f"  # eps of a norm, what stands outside of a padded map

    threads = 128
    shared_bytes = 0

    @property
    def granules(self) -> int:
        """Threads that a row takes."""
        return -(-self.finish.channels // (4 if self.dtype == "float32" else 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """Bookkeeping: `call` is what the kernel runs, `args` its struct; `inputs` where it reads segments.

    Attributes:
      header: the template that defines it.
    """

    family = "small"
    dtype: DType
    header: str
    call: str
    args: str
    inputs: Inputs = NOTHING
    shared_bytes: int = 0
    label: str

    threads = 256

    @property
    def min_blocks(self) -> int:
        """See `_MIN_BLOCKS`; an image test waits for memory, so that as many warps as fit should be there."""
        return 4 if self.header.startswith("image_") else _MIN_BLOCKS


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLoad:
    """An input of an island on its way to shared memory: channel c of a lane goes to `to + c * pitch + lane`."""

    inputs: Inputs
    to: int
    pitch: int

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.inputs.starts[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePart:
    """The lanes of one grid.

    Attributes:
      first: its first tile.
      start: its first lane.
      cells: how many lanes there are.
      width: of the grid.
      loads: what is read of a cell.
    """

    first: int
    start: int
    cells: int
    width: int
    loads: tuple[LaneLoad, ...]

    @property
    def after(self) -> int:
        """The tile after its last."""
        return self.first - (-self.cells // TILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOp:
    """An op on a tile: `statement`, for every lane and every r in `[0, rows)`."""

    rows: int
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOutput:
    """`rows` of a tile, `TILE` floats each, from `of` on in shared memory."""

    of: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """An island that treats every cell alone (common/islands/lanes.py): a block takes a tile through all ops.

    Attributes:
      floats: shared memory of a tile.
      lanes: how many there are.
      constants: number of tensors that ops read besides.
      parts: where lanes come from.
      ops: in order.
      outputs: in order.
    """

    family = "lanes"
    min_blocks = _MIN_BLOCKS
    dtype: DType
    floats: int
    lanes: int
    constants: int
    parts: tuple[LanePart, ...]
    ops: tuple[LaneOp, ...]
    outputs: tuple[LaneOutput, ...]

    threads = 256

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory."""
        return 4 * self.floats

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.parts[-1].after


Kernel = Gemm | Rows | Small | Lanes


def name_of(kernel: Kernel) -> str:
    """The entry function's name: readable, and different for different parameters."""
    kind = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[kernel.dtype]
    digest = hashlib.sha256(repr(kernel).encode()).hexdigest()[:8]
    if isinstance(kernel, Gemm):
        t = kernel.tile
        label = f"gemm_{t.bm}x{t.bn}x{t.bk}_k{kernel.depth}_n{kernel.finish.channels}"
    elif isinstance(kernel, Rows):
        label = f"{kernel.op}_c{kernel.finish.channels}"
    elif isinstance(kernel, Lanes):
        label = f"lanes_{kernel.lanes}"
    else:
        label = kernel.label
    return f"fs_{label}_{kind}_{digest}"
