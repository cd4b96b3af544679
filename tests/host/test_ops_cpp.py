"""Every op of a plan in generated C++ against its definition in torch, per instruction set, on masks of all kinds."""

from __future__ import annotations

import pytest
from torch import Tensor

from fluxshard.codegen.common.toolchain import detect_target, multiplies_pairs
from fluxshard.codegen.cpp import build_step
from fluxshard.errors import ToolchainError
from fluxshard.ir import params as P
from fluxshard.ir.plan import Plan
from fluxshard.runtime.engines.cpp import CppEngine
from fluxshard.testing.plan_builder import PlanBuilder
from tests.layers.cases import GROUPS, HEIGHT, WIDTH
from tests.layers.checked import check_group

ISAS = ("avx512", "avx2", "portable")
BF16 = ("avx512-pairs", "avx2-bfloat16")  # with the instruction for pairs of numbers, and in plain code
# what differs least between instruction sets: their widths and types are seen in the others
SLOW = {
    "avx512-pairs": ("pools", "activations", "rowwise", "resampling", "views"),
    "avx2": ("pools", "groups", "resampling", "views"),
}
CASES = [
    pytest.param(group, isa, marks=pytest.mark.slow if group in SLOW.get(isa, ()) else ())
    for group in GROUPS
    for isa in ISAS + BF16
]


@pytest.mark.parametrize(("group", "isa"), CASES)
def test_layers_are_their_definitions_on_any_mask(group: str, isa: str) -> None:
    isa, _, dtype = isa.partition("-")
    try:
        target = detect_target(isa, "bfloat16" if dtype else "float32")  # type: ignore[arg-type]
    except ToolchainError as error:
        pytest.skip(str(error))
    if dtype == "pairs" and not multiplies_pairs():
        pytest.skip("this processor has no AVX512_BF16")

    def engine(plan: Plan, weights: dict[str, Tensor]) -> CppEngine:
        return CppEngine(plan, build_step(plan, target), weights)

    check_group(group, engine, 1.5e-2 if dtype else 1e-5)


def test_every_op_is_covered() -> None:
    seen = set()
    for group in GROUPS.values():
        built = PlanBuilder(5, HEIGHT, WIDTH)
        group(built)
        seen |= {layer.op for layer in built.layers}
    assert seen == set(P.PARAMS)
