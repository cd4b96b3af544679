"""Every op of a plan in generated C++ against its definition in torch, per instruction set, on masks of all kinds."""

from __future__ import annotations

import pytest
from torch import Tensor

from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp import build_step
from fluxshard.errors import ToolchainError
from fluxshard.ir import params as P
from fluxshard.ir.plan import Plan
from fluxshard.runtime.engines.cpp import CppEngine
from fluxshard.testing.plan_builder import PlanBuilder
from tests.layers.cases import GROUPS, HEIGHT, WIDTH
from tests.layers.checked import check_group

ISAS = ("avx512", "avx2", "portable")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("group", GROUPS)
def test_layers_are_their_definitions_on_any_mask(group: str, isa: str) -> None:
    try:
        target = detect_target(isa)  # type: ignore[arg-type]
    except ToolchainError as error:
        pytest.skip(str(error))

    def engine(plan: Plan, weights: dict[str, Tensor]) -> CppEngine:
        return CppEngine(plan, build_step(plan, target), weights)

    check_group(group, engine)


def test_every_op_is_covered() -> None:
    seen = set()
    for group in GROUPS.values():
        built = PlanBuilder(5, HEIGHT, WIDTH)
        group(built)
        seen |= {layer.op for layer in built.layers}
    assert seen == set(P.PARAMS)
