"""Tiles of GEMMs: a rule that needs no device, and the candidates that a tuner measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fluxshard.codegen.cuda.launches.kernels import FewTile, Finish, Gemm, GemmTile, Inputs
from fluxshard.ir.kernel import CudaTarget

_ENOUGH_INTENSITY = 24  # products of a warp per number that it reads from shared memory, beyond which more do not help
_PART = 576  # of the depth: a shorter part of a sum costs more to join than it saves
_MOST_PARTS = 8
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
    splits = _parts(target, problem)
    options = list(_fitting(target, taps, inputs, finish, cells, splits))
    assert options, f"no tile fits {taps} taps of {inputs.counts} channels into {target.shared_bytes} bytes"

    def cost(tile: GemmTile) -> float:
        """Work of the busiest multiprocessor over its speed: larger tiles of a warp read less for each product."""
        blocks = -(-cells // tile.bm) * -(-finish.channels // tile.bn)
        m, n = tile.bm / tile.wm, tile.bn / tile.wn
        if target.math == "ffma":
            m, n = float(tile.bm), float(tile.bn)
        intensity = min(m * n / (m + n), _ENOUGH_INTENSITY)
        return -(-blocks // target.multiprocessors) * tile.bm * tile.bn / intensity

    return min(options, key=cost)


def _parts(target: CudaTarget, problem: Problem) -> int:
    """Parts that sums are cut into: what depends on nothing but the layer, so that all tiles give the same bits."""
    depth, splits = problem.taps[0] * problem.taps[1] * problem.inputs.unit_starts[-1], 1
    while splits < _MOST_PARTS and depth >= 2 * splits * _PART:
        splits *= 2
    # where a twentieth of the cells keeps the device busy, sums are never shared
    return 1 if -(-problem.cells // 20) * problem.finish.channels >= 64 * 64 * target.multiprocessors else splits


def candidates(target: CudaTarget, problem: Problem) -> tuple[GemmTile, ...]:
    """Tiles worth measuring for a layer, the rule's choice first."""
    splits = _parts(target, problem)
    found = [choose_tile(target, problem)]
    for tile in _fitting(target, problem.taps, problem.inputs, problem.finish, problem.cells, splits):
        found += [tile, replace(tile, few=None)]
    return tuple(dict.fromkeys(found))


def _fitting(
    target: CudaTarget, taps: tuple[int, int], inputs: Inputs, finish: Finish, cells: int, splits: int
) -> Iterator[GemmTile]:
    widths = [n for n in (16, 32, 48, 64, 80, 96, 128) if n == 16 or n < finish.channels + 16]
    for bn in widths:
        for bm in (128, 64):
            for tile in _shapes(target, bm, bn, taps[0] * taps[1], inputs, splits):
                made = replace(tile, splits=splits, slots=2 * target.multiprocessors)
                if cells >= 8 * bm:
                    made = replace(made, few=_few(target, made))
                whole = _listed(target, made, taps, inputs, finish)
                if whole is not None:
                    yield whole
                    break


def _listed(
    target: CudaTarget, tile: GemmTile, taps: tuple[int, int], inputs: Inputs, finish: Finish
) -> GemmTile | None:
    """The tile with a table of rows where it fits, or without; None where neither does."""
    for table in (True, False):
        whole = _gemm(target, replace(tile, table=table), taps, inputs, finish)
        listed = 4 * taps[0] * taps[1] * len(inputs.counts) * tile.bm if table else 0
        # two blocks of a multiprocessor share what it has; a block of one kilobyte more is the driver's
        room = target.shared_bytes if tile.stages == 2 else (target.shared_bytes - (1 << 10)) // 2
        if listed <= _TABLE_BYTES and whole.shared_bytes + _STATIC_BYTES <= room:
            return whole.tile
    return None


def _shapes(target: CudaTarget, bm: int, bn: int, taps: int, inputs: Inputs, splits: int) -> Iterator[GemmTile]:
    """Tiles of a size, the one that hides most latency first."""
    in_tap = inputs.unit_starts[-1]
    depth = taps * in_tap
    if target.math == "ffma":
        if bn not in (16, 32, 64, 128) or (bn == 128 and bm == 64):
            return
        # 4 to 8 rows of a thread times tn columns: at most 64 sums in registers
        shape = GemmTile(bm=bm, bn=bn, bk=16, stages=2, wm=8 if bm == 128 else 4, wn=1, tn=8 if bn == 128 else 4)
        if splits > 1 and bm * bn > 4096:
            return  # a part and the sum of those before it are both in registers
        yield from ([replace(shape, stages=3), shape] if target.copies_async else [shape])
        return
    if splits > 1 and bm * bn > 128 * 64:
        return  # a part and the sum of those before it are both in registers
    wm, wn = (4, 1) if bn <= 32 and (bn < 32 or bm == 128) else (2, 2)
    if not target.copies_async:
        yield GemmTile(bm=bm, bn=bn, bk=16 if depth <= 16 else 32, stages=2, wm=wm, wn=wn)
        return
    whole = in_tap % 64 == 0 and inputs.vec == target.lanes
    # finding the segment of a step costs as much as a sixth of its products: with fewer steps it is done less often
    joined = len(inputs.counts) > 1 and all(start % 64 == 0 for start in inputs.unit_starts)
    deepest = 16 if depth <= 16 else 64 if whole and depth >= (128 if joined else 256) else 32
    for bk, stages in ((64, 4), (64, 3), (32, 4), (32, 3), (16, 4), (16, 3), (32, 2), (16, 2)):
        if bk <= deepest and (bk == deepest or bk >= 32) and stages <= max(2, -(-depth // bk) + 1):
            yield GemmTile(bm=bm, bn=bn, bk=bk, stages=stages, wm=wm, wn=wn)


_FEW = {
    (128, 128): (64, 32, 2, 2), (128, 64): (64, 32, 2, 2), (64, 128): (32, 32, 2, 2), (64, 64): (32, 32, 2, 2),
    (128, 96): (64, 48, 2, 2), (128, 80): (64, 40, 4, 1), (128, 48): (64, 24, 4, 1), (128, 32): (64, 32, 2, 2),
    (128, 16): (64, 16, 4, 1), (64, 80): (64, 40, 4, 1), (64, 96): (32, 48, 2, 2),
}  # fmt: skip


def _few(target: CudaTarget, tile: GemmTile) -> FewTile | None:
    """Smaller tiles, with as many more stages as their shared memory holds."""
    found = _FEW.get((tile.bm, tile.bn))
    if found is None or target.math == "ffma":
        return None
    bm, bn, wm, wn = found
    stages = min(tile.stages * (tile.bm + tile.bn) // (bm + bn), 6) if target.copies_async else 2
    return FewTile(bm=bm, bn=bn, stages=max(stages, 2), wm=wm, wn=wn)


def _gemm(target: CudaTarget, tile: GemmTile, taps: tuple[int, int], inputs: Inputs, finish: Finish) -> Gemm:
    return Gemm(
        dtype=target.dtype, math=target.math, tile=tile, taps_y=taps[0], taps_x=taps[1], inputs=inputs, finish=finish
    )
