"""Tiles: what gemm.cuh asks of them, that they fit every architecture, and that they do not change results."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fluxshard
from fluxshard.codegen.cuda.launches.kernels import NOTHING, FewTile, Finish, Gemm, GemmTile, Inputs
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.tiles import Problem, candidates, choose_tile
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CUDA_ARCHES, CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing.plan_builder import PlanBuilder
from tests.cuda.test_ops_emulated import emulated

TARGETS = [
    CudaTarget(arch=arch, dtype=dtype) for arch, dtype in product(CUDA_ARCHES, ("float32", "float16", "bfloat16"))
]
STATIC_BYTES = 16  # of shared memory, as ptxas reports them of a kernel that joins parts of sums


def gemm_of(target: CudaTarget, problem: Problem, tile: GemmTile) -> Gemm:
    return Gemm(
        dtype=target.dtype, math=target.math, tile=tile, taps_y=problem.taps[0], taps_x=problem.taps[1],
        inputs=problem.inputs, finish=problem.finish,
    )  # fmt: skip


def broken_rules(target: CudaTarget, problem: Problem, tile: GemmTile) -> list[str]:
    """What gemm.cuh assumes, and does not hold."""
    gemm, few = gemm_of(target, problem, tile), tile.few
    rules = broken_shape(target, problem, tile, gemm)
    if few is not None:
        same = replace(tile, bm=few.bm, bn=few.bn, stages=few.stages, wm=few.wm, wn=few.wn, few=None)
        rules += [f"few cells: {rule}" for rule in broken_shape(target, problem, same, gemm)]
        both = {
            "packed weights serve both": tile.bn % few.bn == 0, "a block runs both": same.threads == tile.threads,
            "few cells have smaller tiles": few.bm * few.bn < tile.bm * tile.bn,
            "few tiles run at a time": gemm.most_few >= few.bm,
        }  # fmt: skip
        rules += [rule for rule, holds in both.items() if not holds]
    return rules


def broken_shape(target: CudaTarget, problem: Problem, t: GemmTile, gemm: Gemm) -> list[str]:
    """The same for one of a kernel's tiles; `gemm` is the whole kernel."""
    lanes, vec, steps = target.lanes, problem.inputs.vec, gemm_of(target, problem, t).steps
    sums = t.bm * t.bn * (2 if t.splits > 1 else 1)  # of a part, and of those before it
    registers = 65536 // gemm.min_blocks // t.threads
    rules = {
        "a block has whole warps, and at most 1024 threads": 0 < t.threads <= 1024,
        "sums are three quarters of a thread's registers at most": 4 * sums <= 3 * min(registers, 255) * t.threads,
        "stages take turns": t.stages >= 2,
        "no part of a sum is empty": 1 <= t.splits <= steps,
        "parts halve": t.splits & (t.splits - 1) == 0,
        "a granule of weights lies in one row of a tile": t.bk % lanes == 0,
        "a unit lies in one row of a tile": t.bk % vec == 0,
        "a granule has whole units": lanes % vec == 0,
        "a unit lies in one tap": gemm.inputs.unit_starts[-1] % vec == 0,
        "a thread copies the same unit of every row": t.threads % (t.bk // vec or 1) == 0,
        "rows of weights that a thread copies are swizzled alike": t.threads // (t.bk // lanes or 1) % 8 == 0,
        "rows are finished in granules": t.bn % lanes == 0,
        "sums are stored in pairs": t.bn % 2 == 0,
        "parts are stored in fours": t.splits == 1 or t.bm * t.bn % (4 * t.threads) == 0,
        "stages begin at a granule": (t.bm + t.bn) * t.bk * target.itemsize % 16 == 0,
        "shared memory suffices": gemm.shared_bytes + STATIC_BYTES <= target.shared_bytes,
    }
    if target.math == "ffma":
        columns = t.bn // t.tn or 1
        rows = t.threads // columns or 1
        rules |= {
            "threads have whole columns": t.bn % t.tn == 0,
            "every thread has a place": t.threads % columns == 0,
            "threads have whole rows": t.bm % rows == 0,
            "products are summed four at a time": t.bk % 4 == 0,
        }
    else:
        granules = t.bk // lanes
        rules |= {
            "warps have whole fragments of 16 rows": t.bm % (16 * t.wm) == 0,
            "warps have whole fragments of 8 columns": t.bn % (8 * t.wn) == 0,
            "a step has whole instructions": t.bk % 16 == 0,
            "granules change places within a row": granules == 2 or granules % 4 == 0,
        }
    return [rule for rule, holds in rules.items() if not holds]


@st.composite
def problems(draw: st.DrawFn, target: CudaTarget) -> Problem:
    channels = st.one_of(st.integers(1, 513), st.sampled_from((1, 3, 4, 8, 16, 17, 32, 64, 96, 128, 130, 256, 512)))
    vec = draw(st.sampled_from([n for n in (1, 2, 4, 8) if n <= target.lanes]))
    counts = tuple(draw(st.lists(channels, min_size=1, max_size=8)))
    residual = Inputs(counts=(8,), vec=vec) if draw(st.booleans()) else NOTHING
    finish = Finish(channels=draw(channels), residual=residual)
    taps = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    cells = draw(st.one_of(st.integers(1, 4096), st.sampled_from((20 * 20, 80 * 80, 320 * 320, 2160 * 3840))))
    return Problem(taps, Inputs(counts=counts, vec=vec), finish, cells)


@settings(max_examples=max(300, settings.default.max_examples))
@given(st.data(), st.sampled_from(TARGETS))
def test_tiles_fit_and_keep_the_rules_of_the_kernel(data: st.DataObject, target: CudaTarget) -> None:
    problem = data.draw(problems(target))
    chosen, found = choose_tile(target, problem), candidates(target, problem)
    assert found[0] == chosen
    assert len(set(found)) == len(found)
    for tile in found:
        assert not broken_rules(target, problem, tile), tile


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.arch}-{target.dtype}")
def test_the_largest_problems_fit(target: CudaTarget) -> None:
    """Seven by seven taps of eight segments: the list of rows is larger than any shared memory."""
    for channels, vec, taps in product((1, 16, 513), (1, target.lanes), ((1, 1), (3, 3), (7, 7))):
        problem = Problem(taps, Inputs(counts=(channels,) * 8, vec=vec), Finish(channels=channels), 10**6)
        for tile in candidates(target, problem):
            assert not broken_rules(target, problem, tile), tile
            assert not tile.table or taps != (7, 7)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.arch}-{target.dtype}")
def test_lists_of_any_length_fit(target: CudaTarget) -> None:
    """One row more in the list, and a tile is a hair too large: 5x5 taps with 96 channels on sm_75 were."""
    for taps, channels in product(range(1, 66), (16, 32, 48, 64, 80, 96, 128)):
        problem = Problem((1, taps), Inputs(counts=(64,), vec=target.lanes), Finish(channels=channels), 12800)
        for tile in candidates(target, problem):
            assert not broken_rules(target, problem, tile), tile


def test_rules_find_what_breaks_them() -> None:
    """Each rule is broken by some change of a good tile."""
    for dtype in ("float32", "float16"):
        target = CudaTarget(arch="sm_80", dtype=dtype)
        problem = Problem((3, 3), Inputs(counts=(64,), vec=target.lanes), Finish(channels=64), 6400)
        tile = choose_tile(target, problem)
        assert not broken_rules(target, problem, tile)
        changes = (
            {"bm": 20},
            {"bn": 20},
            {"bk": 10},
            {"stages": 1},
            {"splits": 99},
            {"stages": 99},
            {"wm": 64},
            {"splits": 3},
        )
        for change in (*changes, {"tn": 3} if target.math == "ffma" else {"wn": 3}):
            assert broken_rules(target, problem, replace(tile, **change)), change


def test_deep_sums_are_cut_and_those_of_large_grids_are_not() -> None:
    target = CudaTarget(arch="sm_80", dtype="float16")
    deep = Inputs(counts=(512,), vec=8)
    few, many = (choose_tile(target, Problem((3, 3), deep, Finish(channels=256), cells)) for cells in (400, 250000))
    assert few.splits == 8 and many.splits == 1
    assert {tile.splits for tile in candidates(target, Problem((3, 3), deep, Finish(channels=64), 400))} == {8}, (
        "what is tuned does not change bits"
    )


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.arch}-{target.dtype}")
def test_parts_of_sums_have_room(target: CudaTarget) -> None:
    """As gemm.cuh decides who makes the parts: there are counters for all tiles, and there is room for all parts."""
    for cells, channels, depth in product((30, 400, 1024, 4096, 16384), (64, 80, 128, 512), (128, 512)):
        inputs, finish = Inputs(counts=(depth,), vec=target.lanes), Finish(channels=channels)
        for tile in candidates(target, Problem((3, 3), inputs, finish, cells)):
            gemm = gemm_of(target, Problem((3, 3), inputs, finish, cells), tile)
            for shape, n in product(tile.shapes, {1, cells // 20, cells // 4, cells}):
                tiles = -(-n // shape.bm) * -(-channels // shape.bn)
                turn = tile.splits
                if tiles * tile.splits <= 4 * tile.slots:
                    while turn > 1 and tiles * (tile.splits // turn) * 2 <= tile.slots:
                        turn //= 2
                if turn < tile.splits:
                    assert 4 * tiles * tile.splits * shape.bm * shape.bn <= gemm.partial_bytes(cells)
                    assert 4 * tiles <= gemm.counter_bytes(cells)
                if shape is tile.shapes[-1]:
                    assert tiles * (tile.splits // turn) <= gemm.blocks(cells)


# ---- the same sums whatever the tile

MATHS = {
    "ffma-f32": (CudaTarget(arch="sm_80"), 1e-5),
    "m16n8k16-f16": (CudaTarget(arch="sm_80", dtype="float16"), 4e-3),
    "m16n8k8-f16": (CudaTarget(arch="sm_75", dtype="float16"), 4e-3),
}


def one_layer(channels: int, outputs: int, segments: bool = False) -> tuple[Plan, dict[str, Tensor], str]:
    """A deep convolution of an image that can be stored exactly; with segments its units are narrow."""
    b = PlanBuilder(8, 10, 13)
    x = b.conv("image", channels)
    if segments:
        x = b.add(P.Cat(), b.add(P.ChannelSlice(start=2, stop=channels - 1), x), b.add(P.Copy(), "image"), x)
    made = b.conv(x, outputs, (3, 3), padding=((1, 1), (1, 1)), act=("silu",))
    return b.finish(made), b.weights, made


LAYERS = {
    "wide": lambda: one_layer(96, 130),
    "narrow": lambda: one_layer(40, 17),
    "segments": lambda: one_layer(56, 40, segments=True),
}
# tiles of a layer, and slots for parts of sums: the whole list is long, and compiled at a second each
TRIED = [(3, (1, 400)), pytest.param(4, (1, 6, 400), marks=pytest.mark.slow)]


def cuts(gemm: Gemm) -> tuple[int, ...]:
    """Where along its depth a sum is cut."""
    return tuple(gemm.steps * part // gemm.tile.splits * gemm.tile.bk for part in range(1, gemm.tile.splits))


def _with_few(tiles: tuple[GemmTile, ...], slots: tuple[int, ...]) -> list[GemmTile]:
    """Tiles that have others for few cells, taken for all cells and for none; with slots for parts in turn, and not."""
    found = [tile for tile in tiles if tile.few is not None][:1]
    return [replace(tile, slots=n) for tile in found for n in slots]


def spread(tiles: tuple[GemmTile, ...], tried: int, slots: tuple[int, ...]) -> list[GemmTile]:
    """The first, with and without a list of rows in shared memory, and others from the whole list."""
    n = min(tried, len(tiles))
    return [
        tiles[0],
        replace(tiles[0], table=False),
        *_with_few(tiles, slots),
        *(tiles[i * (len(tiles) - 1) // (n - 1)] for i in range(1, n)),
    ]


@pytest.mark.requires_compiler
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("math", MATHS)
@pytest.mark.parametrize(("tried", "slots"), TRIED, ids=("few", "more"))
def test_every_tile_gives_the_same_sums(math: str, layer: str, tried: int, slots: tuple[int, ...]) -> None:
    target, tolerance = MATHS[math]
    plan, weights, name = LAYERS[layer]()
    problem = Describer(plan, target).problem(next(spec for spec in plan.layers if spec.name == name))
    assert problem is not None
    image = torch.randn(1, 8, 10, 13, generator=torch.Generator().manual_seed(2)).half().float()
    first: dict[tuple[int, ...], Tensor] = {}
    for tile in spread(candidates(target, problem), tried, slots):
        engine = emulated(target, plan, weights, tiles={name: tile})
        with Session(lambda _, e=engine: Program(e, lambda leaves: leaves), fluxshard.ReuseOptions()) as session:
            (got,) = session.run(image)
        expected = first.setdefault(cuts(gemm_of(target, problem, tile)), got)
        assert torch.equal(got, expected), f"{tile}: sums cut at the same places differ"
        close = next(iter(first.values()))
        assert torch.allclose(got, close, rtol=0, atol=tolerance * float(close.abs().max())), tile


@pytest.mark.requires_compiler
@pytest.mark.parametrize("slots", [2, 6, 15])
def test_few_cells_have_the_bits_of_many(slots: int) -> None:
    """Whether a frame takes the smaller tiles, and how many blocks share a sum, follows from its cells alone."""
    target = MATHS["m16n8k16-f16"][0]
    plan, weights, name = one_layer(96, 130)
    tile = GemmTile(
        bm=64, bn=64, bk=32, stages=3, wm=2, wn=2, splits=4, slots=slots,
        few=FewTile(bm=32, bn=32, stages=4, wm=2, wn=2),
    )  # fmt: skip
    gemm = gemm_of(target, problem_of(plan, target, name), tile)
    assert gemm.most_few < 10 * 13, "all cells take the large tiles"
    engine = emulated(target, plan, weights, tiles={name: tile})
    image = torch.randn(1, 8, 10, 13, generator=torch.Generator().manual_seed(2)).half().float()
    other = image.flip(3)
    rng = np.random.default_rng(slots)
    with Session(lambda _: Program(engine, lambda leaves: leaves), fluxshard.ReuseOptions()) as session:
        (before,) = session.run(image)
        session.reset()
        (whole,) = session.run(other)
        everything = {i: np.ones((grid.height, grid.width), np.bool_) for i, grid in enumerate(plan.grids)}
        for n in (1, min(gemm.most_few, 30), 65):
            chosen = np.zeros(130, np.bool_)
            chosen[rng.permutation(130)[:n]] = True
            # the same cells anew, from the same values
            (part,) = session.run_with_work(other, None, dict.fromkeys(everything, chosen.reshape(10, 13)))
            assert torch.equal(part, whole) and not torch.equal(part, before)
            assert session.stats.recompute_ratio == pytest.approx(n / 130)
            (again,) = session.run_with_work(other, None, everything)
            assert torch.equal(again, whole)


def problem_of(plan: Plan, target: CudaTarget, name: str) -> Problem:
    found = Describer(plan, target).problem(next(spec for spec in plan.layers if spec.name == name))
    assert found is not None
    return found
