"""The model of time: it gives what was expected of older kernels, and says what became of that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.plans import load_plan
from fluxshard.codegen.cuda.estimate import RATES, estimate, parts_in_turn
from fluxshard.codegen.cuda.launches.kernels import FewTile, Finish, Gemm, GemmTile, Inputs
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.ir.kernel import CudaTarget

H100 = RATES["sm_90"]
# launches, cells, channels, depth, tile (bm, bn, bk, stages, warps, splits): products as they were tiled before sums
# were made in turn and loads were lean
OLDER = json.loads((Path(__file__).parent / "golden" / "older_products.json").read_text())
EXPECTED_OF_OLDER = {  # microseconds at all work, a quarter, a twentieth and none; an estimate by hand for an H100
    "yolo11m@1024": (1155, 1029, 1019, 139),
    "yolo11n@640": (385, 381, 381, 106),
}
COUNTED = {(128, 128): 235.0, (64, 64): 169.0, (64, 16): 137.0}  # instructions of the older loops
WORK = (1.0, 0.25, 0.05, 0.0)
PLANNED = Order(planned=True, rfap="off", remap=True, takes_image=True)


def older_us(name: str, share: float) -> float:
    total = 0.0
    for launches, cells, channels, depth, bm, bn, bk, stages, warps, splits in OLDER[name]:
        tile = GemmTile(bm=bm, bn=bn, bk=bk, stages=stages, wm=warps, wn=1, splits=splits, slots=10**6)
        kernel = Gemm(
            dtype="float16", math="m16n8k16", tile=tile, taps_y=1, taps_x=1, inputs=Inputs(counts=(depth,), vec=4),
            finish=Finish(channels=channels),
        )  # fmt: skip
        products = bm // 16 * (bn // 8) / warps * 2  # of a warp
        counted = COUNTED.get((bm, bn), 130 + 3.3 * products)
        one = estimate(
            kernel, round(cells * share), H100, per_multiprocessor=2, overlaps=False, instructions={(bm, bn): counted}
        )
        total += launches * one.us
    return total


@pytest.mark.parametrize("name", EXPECTED_OF_OLDER)
def test_the_model_gives_what_was_expected_of_older_kernels(name: str) -> None:
    for share, expected in zip(WORK, EXPECTED_OF_OLDER[name], strict=True):
        assert older_us(name, share) == pytest.approx(expected, rel=0.1), share


def planned_us(name: str, size: int, share: float, overlaps: bool = True) -> float:
    plan = load_plan(name, size)
    total = 0.0
    for step in Describer(plan, CudaTarget(arch="sm_90", dtype="float16")).order(PLANNED):
        if isinstance(step, Launch) and isinstance(step.kernel, Gemm):
            cells = round(share * plan.grid_of(plan.layer(step.layer).output).cells)
            total += estimate(
                step.kernel, cells, H100, per_multiprocessor=step.kernel.min_blocks,
                overlaps=overlaps and not step.alone,
            ).us  # fmt: skip
    return total


def test_products_of_a_planned_frame_take_less_time_where_there_is_less_work() -> None:
    whole, quarter, twentieth, none = (planned_us("yolo11m", 1024, share) for share in WORK)
    assert whole <= 700
    assert quarter <= 0.60 * whole
    assert twentieth <= 0.52 * whole
    assert none <= 0.15 * whole


def test_overlapping_launches_and_parts_pay() -> None:
    assert planned_us("yolo11m", 1024, 0.0, overlaps=False) > 2 * planned_us("yolo11m", 1024, 0.0)
    assert planned_us("yolo11m", 1024, 0.05) < older_us("yolo11m@1024", 0.05) / 3


TILE = GemmTile(
    bm=128, bn=64, bk=64, stages=4, wm=2, wn=2, splits=8, slots=264, few=FewTile(bm=64, bn=32, stages=6, wm=2, wn=2)
)


@pytest.mark.parametrize(("tiles", "turn"), [(1, 1), (33, 1), (34, 2), (66, 2), (67, 4), (132, 4), (133, 8), (5000, 8)])
def test_blocks_share_sums_while_some_are_idle(tiles: int, turn: int) -> None:
    assert parts_in_turn(TILE, tiles) == turn


def test_what_a_product_takes_follows_from_its_blocks() -> None:
    kernel = Gemm(
        dtype="float16", math="m16n8k16", tile=TILE, taps_y=3, taps_x=3, inputs=Inputs(counts=(512,), vec=8),
        finish=Finish(channels=512),
    )  # fmt: skip
    one = estimate(kernel, 64, H100, per_multiprocessor=2, overlaps=True)
    assert (one.blocks, one.waves) == (16 * 8, 1)  # tiles for few cells, a block for each part
    many = estimate(kernel, 4096, H100, per_multiprocessor=2, overlaps=True)
    assert (many.blocks, many.waves) == (32 * 8, 1)
    twice = estimate(kernel, 8192, H100, per_multiprocessor=2, overlaps=True)
    assert (twice.blocks, twice.waves) == (64 * 8, 2) and twice.us > 1.9 * many.us > 4 * one.us
    assert estimate(kernel, 0, H100, per_multiprocessor=2, overlaps=False).us == H100.launch
