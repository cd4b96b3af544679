"""How long matrix products take on a GPU, estimated from their tiles and their machine code: no GPU is needed.

A product is a launch, and on the multiprocessor that has most to do some rounds of blocks, each of which takes a while
to begin and to end, and in between one step of the depth after the other. A step takes what lasts longest of: issuing
its instructions, its products, and waiting for memory, which as many steps share as are in flight. The rates were
fitted once to an estimate by hand of older kernels on an H100, and stay as they are; nothing was measured yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxshard.codegen.cuda.launches.kernels import FewTile, Gemm, GemmTile


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Of a GPU; cycles are those of a multiprocessor.

    Attributes:
      multiprocessors: their number.
      megahertz: cycles per microsecond.
      products: multiplications and additions of halves that tensor cores make per cycle.
      issue: instructions per cycle and scheduler, of which there are four.
      latency: cycles from asking for a stage until it is there.
      entry: cycles of a block beside its steps: cells, rows, the first stages, and the end.
      entry_overlapped: the same where most of it happens before the kernel in front has ended.
      launch, launch_overlapped: microseconds between the ends of two kernels that do nothing.
      join: cycles to hand parts of sums to another block.
      join_bytes: of parts that are read per cycle.
    """

    multiprocessors: int = 132
    megahertz: float = 1755.0
    products: float = 0.62 * 2048
    issue: float = 0.6
    latency: float = 1200.0
    entry: float = 2000.0
    entry_overlapped: float = 630.0
    launch: float = 1.32
    launch_overlapped: float = 0.6
    join: float = 1500.0
    join_bytes: float = 64.0


RATES = {"sm_90": Rates()}  # architectures for which there is something to fit to


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One launch.

    Attributes:
      us: microseconds.
      blocks: that have work.
      waves: rounds of blocks on the multiprocessor that has most to do.
    """

    us: float
    blocks: int
    waves: int


def least_instructions(kernel: Gemm, tile: GemmTile | FewTile) -> float:
    """Instructions per warp and 32 of the depth, where machine code was not counted: by the kernels that were."""
    fragments = tile.bm // 16 // tile.wm * (tile.bn // 8 // tile.wn)
    copies = 32 * (tile.bm + tile.bn) / (8 * 32 * tile.wm * tile.wn)
    return 4 * fragments / 2 + 4 * copies + 20


def parts_in_turn(tile: GemmTile, tiles: int) -> int:
    """Parts of a sum that one block makes; as in gemm.cuh."""
    turn = tile.splits
    if tiles * tile.splits <= 4 * tile.slots:
        while turn > 1 and tiles * (tile.splits // turn) * 2 <= tile.slots:
            turn //= 2
    return turn


def estimate(
    kernel: Gemm, cells: int, rates: Rates, *, per_multiprocessor: int, overlaps: bool,
    instructions: Mapping[tuple[int, int], float] | None = None,
) -> Estimate:  # fmt: skip
    """Time of a product.

    Args:
      kernel: of tensor cores.
      cells: that are computed.
      rates: of the GPU.
      per_multiprocessor: blocks that it holds at a time.
      overlaps: it begins before the kernel in front of it has ended.
      instructions: per warp and 32 of the depth, by (bm, bn) of the tile; others are `least_instructions`.
    """
    launch = rates.launch_overlapped if overlaps else rates.launch
    if cells == 0:
        return Estimate(us=launch, blocks=0, waves=0)
    tile: GemmTile | FewTile = kernel.tile
    if kernel.tile.few is not None and cells <= kernel.most_few:
        tile = kernel.tile.few
    tiles = -(-cells // tile.bm) * -(-kernel.finish.channels // tile.bn)
    groups = kernel.tile.splits // parts_in_turn(kernel.tile, tiles)
    blocks, steps = tiles * groups, -(-kernel.steps // groups)
    busiest = -(-blocks // rates.multiprocessors)
    waves, together = -(-busiest // per_multiprocessor), min(busiest, per_multiprocessor)
    warps, depth = tile.wm * tile.wn, kernel.tile.bk
    counted = (instructions or {}).get((tile.bm, tile.bn)) or least_instructions(kernel, tile)
    step = max(
        together * warps / 4 * counted * depth / 32 / rates.issue,
        together * tile.bm * tile.bn * depth / rates.products,
        rates.latency / (tile.stages - 1),
    )
    cycles = (rates.entry_overlapped if overlaps else rates.entry) + (waves - 1) * rates.entry + waves * steps * step
    if groups > 1:
        cycles += rates.join + kernel.tile.splits * tile.bm * tile.bn * 4 / rates.join_bytes
    return Estimate(us=launch + cycles / rates.megahertz, blocks=blocks, waves=waves)
