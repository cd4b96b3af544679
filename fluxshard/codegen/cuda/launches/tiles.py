"""Tiles of GEMMs: a rule that needs no device, and the candidates that a tuner measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fluxshard.codegen.cuda.launches.kernels import Finish, Gemm, GemmTile, Inputs
from fluxshard.ir.kernel import CudaTarget

_ENOUGH_INTENSITY = 48  # products per number read beyond which reading no longer counts
_LEAST_STEPS = 8  # a part of a sum shorter than this costs more to join than it saves
_TABLE_BYTES = 32 << 10
_STATIC_BYTES = 16  # of shared memory, besides what a launch asks for: gemm.cuh joins parts of sums through one word


@dataclass(frozen=True, slots=True)
class Problem:
    """Properties of a GEMM that decide its tile, besides the target.

    Attributes:
      taps: of the window, (y, x).
      inputs: what is gathered.
      finish: the epilogue, with the channels.
      cells: of the output.
    """

    taps: tuple[int, int]
    inputs: Inputs
    finish: Finish
    cells: int


def choose_tile(target: CudaTarget, problem: Problem) -> GemmTile:
    """The tile for a layer, by rule."""
    taps, inputs, finish, cells = problem.taps, problem.inputs, problem.finish, problem.cells
    options = list(_fitting(target, taps, inputs, finish))
    assert options, f"no tile fits {taps} taps of {inputs.counts} channels into {target.shared_bytes} bytes"

    def cost(tile: GemmTile) -> float:
        """Work of the busiest multiprocessor over its speed: larger tiles read less for each product."""
        blocks = -(-cells // tile.bm) * -(-finish.channels // tile.bn)
        intensity = min(tile.bm * tile.bn / (tile.bm + tile.bn), _ENOUGH_INTENSITY)
        return max(blocks / target.multiprocessors, 1.0) * tile.bm * tile.bn / intensity

    best = min(options, key=cost)
    gemm = _gemm(target, best, taps, inputs, finish)
    splits = 1
    while gemm.tiles(cells) * splits < target.multiprocessors and gemm.steps >= 2 * splits * _LEAST_STEPS and splits < 8:
        splits *= 2
    return replace(best, splits=splits)


def candidates(target: CudaTarget, problem: Problem) -> tuple[GemmTile, ...]:
    """Tiles worth measuring for a layer, the rule's choice first."""
    found = [choose_tile(target, problem)]
    for tile in _fitting(target, problem.taps, problem.inputs, problem.finish):
        gemm = _gemm(target, tile, problem.taps, problem.inputs, problem.finish)
        for splits in (1, 2, 4, 8):
            # to cut sums pays while there are fewer tiles than blocks
            if splits == 1 or (gemm.steps >= splits * _LEAST_STEPS and gemm.tiles(problem.cells) < 4 * target.multiprocessors):
                found.append(replace(tile, splits=splits))
    return tuple(dict.fromkeys(found))


def _fitting(target: CudaTarget, taps: tuple[int, int], inputs: Inputs, finish: Finish) -> Iterator[GemmTile]:
    widths = [n for n in (16, 32, 48, 64, 80, 96, 128) if n == 16 or n < finish.channels + 16]
    depth = taps[0] * taps[1] * inputs.unit_starts[-1]
    for bn in widths:
        for bm in (128, 64):
            tile = _shape(target, bm, bn, depth)
            if tile is None:
                continue
            for table in (True, False):
                whole = _gemm(target, replace(tile, table=table), taps, inputs, finish)
                listed = 4 * taps[0] * taps[1] * len(inputs.counts) * bm if table else 0
                if listed <= _TABLE_BYTES and whole.shared_bytes + _STATIC_BYTES <= target.shared_bytes:
                    yield whole.tile
                    break


def _shape(target: CudaTarget, bm: int, bn: int, depth: int) -> GemmTile | None:
    stages = 3 if target.copies_async else 2
    if target.math == "ffma":
        if bn not in (16, 32, 64, 128):
            return None
        bk = 16
        wide = bn == 128
        if wide and bm == 64:
            return None
        # 4 to 8 rows of a thread times tn columns: at most 64 sums in registers
        return GemmTile(bm=bm, bn=bn, bk=bk, stages=stages, wm=8 if bm == 128 else 4, wn=1, tn=8 if wide else 4)
    bk = 16 if depth <= 16 else 64 if depth >= 1024 and target.copies_async and bm * bn <= 64 * 64 else 32
    if bn <= 32:
        return GemmTile(bm=bm, bn=bn, bk=bk, stages=stages, wm=4, wn=1)
    if bm == 128:
        return GemmTile(bm=bm, bn=bn, bk=bk, stages=stages, wm=4, wn=2)
    return GemmTile(bm=bm, bn=bn, bk=bk, stages=stages, wm=2, wn=2)


def _gemm(target: CudaTarget, tile: GemmTile, taps: tuple[int, int], inputs: Inputs, finish: Finish) -> Gemm:
    return Gemm(
        dtype=target.dtype, math=target.math, tile=tile, taps_y=taps[0], taps_x=taps[1], inputs=inputs, finish=finish
    )
