"""The checks of tests/gpu, a few of them, run by the emulator: so that they work when there is a GPU."""

from __future__ import annotations

import pytest

from benchmarks.gpu_cases import case_of, place_of
from fluxshard.codegen.cuda.launches.operands import OPS
from fluxshard.options import DType
from tests.gpu import every_kernel, frames, image_tests, laws, layers, networks
from tests.gpu.place import EMULATED

pytestmark = pytest.mark.requires_compiler
SMALL = {
    "begin", "image_begin",
    "fields", "image_compare", "image_take", "plan_candidates", "plan_assign", "plan_settle", "candidates",
    "assign", "phases", "compact_along_x", "compact_along_y", "window_rule", "upsample_mask", "gate", "take_vector",
    "commit_elect", "commit", "to_dense",
}  # fmt: skip
ROWS = {*OPS.values(), "bilinear", "from_dense"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_kernel_is_every_kernel(dtype: DType) -> None:
    forms = {f"gemm {name}={value}" for name in ("splits", "table") for value in (True, False)}
    assert every_kernel.families("sm_90", dtype) == {"gemm", "lanes"} | forms | SMALL | ROWS


def test_every_kernel_runs_and_stays_inside() -> None:
    assert every_kernel.run(EMULATED, "float16", captures=False, n=3) == 15


def test_networks() -> None:
    case = case_of("tiny", 64, place_of("emulated"))
    for dtype in ("float32", "float16"):
        found = networks.run(EMULATED, case.plan, dict(case.weights), dtype)
        networks.check(found, dtype)
        assert found["ratio 0"]["compute_ratio"] == pytest.approx(1.0) and found["ratio of 0.0"]["compute_ratio"] == 0
        found["given 0.0"]["scores"] = 2 * found["rounding"]["scores"] + 3e-4
        with pytest.raises(AssertionError, match=r"given 0\.0"):
            networks.check(found, dtype)


def test_laws() -> None:
    laws.exact(EMULATED, 306, "blocks", 1, dtype="float16")
    laws.incremental_bits(EMULATED, 306, "float32", islands=True)
    laws.all_work(EMULATED, 306, "float32", rfap="compact", remap=True)
    laws.no_work(EMULATED, 306, "float32", "compact")
    laws.deterministic(EMULATED, 306, "float32")
    laws.isolated(EMULATED, 306, 4)
    laws.outputs_alias_nothing(EMULATED, 306)
    laws.not_a_number_leaves(EMULATED, 306)


def test_decisions() -> None:
    laws.same_decisions(EMULATED, 400, "per_layer", "float32")
    laws.same_given_work(EMULATED, 400, "float32")


def test_laws_of_the_image_test() -> None:
    assert image_tests.decides_alike(EMULATED, "odd", 1, 4) > 0
    laws.planned_decisions(EMULATED, 400, "blocks")


def test_layers() -> None:
    layers.definitions(EMULATED, "views", "float32")
    layers.some_in_torch(EMULATED, "views")
    layers.writes_stay_inside(EMULATED, "views", "float32")


def test_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    frames.one_graph_for_all_shares(EMULATED)
    frames.statistics_on_demand(EMULATED, monkeypatch)
    frames.replayed_as_launched(EMULATED, False)
    frames.replayed_as_launched(EMULATED, True)
