"""Generated text: golden for tiny plans, pure, and sensitive to every parameter of every op.

`FLUXSHARD_UPDATE_GOLDEN=1 pytest tests/unit/codegen/cpp/test_render.py` writes the golden files anew; read the
difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import torch
from torch import Tensor

from fluxshard.codegen.common import templates
from fluxshard.codegen.cpp.render import render
from fluxshard.errors import RenderError
from fluxshard.ir import params as P
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import Plan
from fluxshard.testing.plan_builder import PlanBuilder
from tests.unit.codegen.targets import AVX512, PORTABLE

GOLDEN = Path(__file__).parent / "golden"
FIRST_GENERATED = "static const Grid grids[]"


def generated(text: str) -> str:
    """The part that depends on the plan: the head and what follows the included headers."""
    head, body = text.index("#define FS_MAX_ROW"), text.index(FIRST_GENERATED)
    return text[: text.index("\n", head) + 1] + "\n" + text[body:]


def convolution() -> Plan:
    b = PlanBuilder(3, 5, 6)
    first = b.conv("image", 8, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), act=("silu",))
    b.conv(first, 8, (1, 1), first, act_after=("leaky_relu", 0.1), bias=False)
    return b.finish(name="Tiny")


def view() -> Plan:
    b = PlanBuilder(3, 6, 8)
    low = b.conv("image", 4, (2, 2), stride=(2, 2))
    both = b.add(P.Cat(), b.add(P.UpsampleNearest(factor=(2, 2)), low), b.add(P.Copy(), "image"))
    b.add(P.MaxPool2d(kernel=(2, 2), stride=(2, 2)), b.add(P.ChannelSlice(start=2, stop=6), both))
    return b.finish(name="Views")


def island() -> Plan:
    b = PlanBuilder(2, 4, 4)
    x = b.conv("image", 6, (2, 2), groups=2)
    b.add(P.Binary(kind="mul", operand="vector", act=("relu",)), x, b.island("mean", "aten.mean.dim", x, (2, 3), True))
    return b.finish(name="Island")


def island_in_torch() -> Plan:
    b = PlanBuilder(2, 4, 4)
    b.island("sums", "aten.cumsum.default", b.conv("image", 6, (2, 2), groups=2), 1)
    return b.finish(name="IslandInTorch")


PLANS: dict[str, tuple[Callable[[], Plan], Target]] = {
    "convolution_avx512": (convolution, AVX512),
    "convolution_portable": (convolution, PORTABLE),
    "view_avx512": (view, AVX512),
    "island_avx512": (island, AVX512),
    "island_in_torch_avx512": (island_in_torch, AVX512),
}


@pytest.mark.parametrize("name", PLANS)
def test_golden(name: str) -> None:
    make, target = PLANS[name]
    text, path = generated(render(make(), target)[0]), GOLDEN / f"{name}.cpp"
    if os.environ.get("FLUXSHARD_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs: look at it, then run with FLUXSHARD_UPDATE_GOLDEN=1"


@pytest.mark.parametrize("name", PLANS)
def test_the_same_plan_gives_the_same_text(name: str) -> None:
    make, target = PLANS[name]
    plan = make()
    text, spec = render(plan, target)
    assert render(make(), target)[0] == text == render(Plan.from_json(plan.to_json()), target)[0]
    assert spec.plan is plan
    first = text.splitlines()[0]
    assert plan.name in first and plan.digest()[:16] in first and target.isa in first
    for layer in spec.steps:
        assert f"// {layer.index}: {layer.name} (" in text
    assert "}}\n" not in text and "{%" not in text and "None" not in generated(text)


def test_a_name_that_the_template_does_not_get_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = templates.environment()
    loader = jinja2.DictLoader({"cpp/step.cpp.jinja": "a\nb {{ spec.plan.nothing }}"})
    monkeypatch.setattr(templates, "environment", lambda: environment.overlay(loader=loader))
    with pytest.raises(RenderError, match=r"step\.cpp\.jinja.*no attribute 'nothing'"):
        render(convolution(), AVX512)


def test_a_template_that_is_broken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = templates.environment()
    loader = jinja2.DictLoader({"cpp/step.cpp.jinja": "a\n{% if %}"})
    monkeypatch.setattr(templates, "environment", lambda: environment.overlay(loader=loader))
    with pytest.raises(RenderError, match="line 2"):
        render(convolution(), AVX512)


# ---- perturbation: one field at a time

PAIR = ((1, 1), (1, 1))
POOL = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
CONV = P.Conv2d(padding=PAIR, act=("clamp", 0.0, 1.0))
RESIDUAL = P.Conv2d(padding=PAIR, act=("relu",), act_after=("clamp", 0.0, 1.0))
UP = P.ConvTranspose2d(stride=(2, 2), padding=(1, 1), act=("elu", 1.0))
UP_RESIDUAL = P.ConvTranspose2d(act=("relu",), act_after=("elu", 1.0))
MAX, AVG = P.MaxPool2d(**POOL), P.AvgPool2d(**POOL)
ADD = P.Binary(kind="add", operand="value")
BILINEAR = P.Resize(mode="bilinear", size=(17, 14))
NEAREST = P.Resize(mode="nearest", size=(17, 14))
PAD = P.Pad(pads=((1, 2), (2, 1)), value=1.0)

CASES: list[tuple[P.Params, dict[str, Any]]] = [
    *((CONV, {"stride": value}) for value in ((2, 1), (1, 2))),
    *((CONV, {"padding": value}) for value in (((0, 1), (1, 1)), ((1, 0), (1, 1)), ((1, 1), (0, 1)), ((1, 1), (1, 0)))),
    *((CONV, {"dilation": value}) for value in ((2, 1), (1, 2))),
    *((CONV, {"groups": value}) for value in (2, 4)),
    *((CONV, {"act": value}) for value in (None, ("silu",), ("clamp", 0.5, 1.0), ("clamp", 0.0, 2.0), ("prelu",))),
    *((RESIDUAL, {"act_after": value}) for value in (None, ("silu",), ("clamp", 0.5, 1.0), ("clamp", 0.0, 2.0))),
    *((UP, {"stride": value}) for value in ((1, 2), (2, 1))),
    *((UP, {"padding": value}) for value in ((0, 1), (1, 0))),
    *((UP, {"output_padding": value}) for value in ((1, 0), (0, 1))),
    *((UP, {"dilation": value}) for value in ((2, 1), (1, 2))),
    *((UP, {"groups": value}) for value in (2, 4)),
    *((UP, {"act": value}) for value in (None, ("silu",), ("elu", 0.5))),
    *((UP_RESIDUAL, {"act_after": value}) for value in (None, ("silu",), ("elu", 0.5))),
    *((pool, {"kernel": value}) for pool in (MAX, AVG) for value in ((2, 3), (3, 2))),
    *((pool, {"stride": value}) for pool in (MAX, AVG) for value in ((1, 2), (2, 1))),
    *((pool, {"padding": value}) for pool in (MAX, AVG) for value in ((0, 1), (1, 0))),
    *((replace(pool, stride=(3, 3)), {"ceil_mode": True}) for pool in (MAX, AVG)),
    *((MAX, {"dilation": value}) for value in ((2, 1), (1, 2))),
    (AVG, {"count_include_pad": False}),
    *((AVG, {"divisor": value}) for value in (3, 9)),
    *((P.Pointwise(act=("relu",)), {"act": (act, *(0.5,) * n)}) for act, n in P.ACTIVATIONS.items() if act != "relu"),
    (P.Pointwise(act=("elu", 1.0)), {"act": ("elu", 1.0000001)}),
    *((P.Affine(), {"act": value}) for value in (("relu",), ("prelu",))),
    (P.ChannelNorm(), {"eps": 2e-5}),
    *((ADD, {"kind": value}) for value in ("sub", "mul", "div")),
    *((ADD, {"operand": value}) for value in ("vector", "weight", "scalar")),
    (replace(ADD, operand="scalar"), {"scalar": 1.0}),
    *((replace(ADD, operand=operand), {"swapped": True}) for operand in ("value", "scalar", "weight", "vector")),
    (ADD, {"act": ("relu",)}),
    (NEAREST, {"mode": "bilinear"}),
    *((resize, {"size": value}) for resize in (NEAREST, BILINEAR) for value in ((18, 14), (17, 15))),
    (BILINEAR, {"align_corners": True}),
    *((resize, {"scale": value}) for resize in (NEAREST, BILINEAR) for value in ((1.9, 1.3), (1.8, 1.2))),
    *((PAD, {"pads": value}) for value in (((2, 2), (2, 1)), ((1, 1), (2, 1)), ((1, 2), (1, 1)), ((1, 2), (2, 0)))),
    (PAD, {"pads": ((-1, 2), (2, 1))}),
    *((PAD, {"mode": value}) for value in ("replicate", "reflect", "circular")),
    (PAD, {"value": float("-inf")}),
    (P.ChannelSlice(start=1, stop=3), {"start": 0}),
    (P.ChannelSlice(start=1, stop=3), {"stop": 4}),
    *((P.UpsampleNearest(factor=(2, 2)), {"factor": value}) for value in ((1, 2), (2, 1))),
]  # fmt: skip


def plan_of(params: P.Params) -> Plan:
    """One layer with these params between a copy of a 4-channel image and a reader; weights as the params ask for."""
    b = PlanBuilder(4, 9, 11)
    x = b.add(P.Copy(), "image")
    roles: dict[str, Tensor] = {}
    inputs = [x]
    acts = [getattr(params, name, None) for name in ("act", "act_after")]
    if ("prelu",) in acts:
        roles["slope"] = torch.ones(4)
    residual = getattr(params, "act", None) == RESIDUAL.act and isinstance(params, P.Conv2d | P.ConvTranspose2d)
    if isinstance(params, P.Conv2d | P.ConvTranspose2d):
        # a residual has the size of the result
        kernel = (1, 1) if isinstance(params, P.ConvTranspose2d) and residual else (3, 3)
        roles["weight"] = torch.ones(4, 4 // params.groups, *kernel)
    if residual:
        inputs.append(x)
    match params:
        case P.Affine():
            roles |= {"scale": torch.ones(4), "shift": torch.ones(4)}
        case P.Binary(operand="value"):
            inputs.append(b.conv(x, 4))
        case P.Binary(operand="vector"):
            inputs.append(b.island("mean", "aten.mean.dim", x, (2, 3), True))
        case P.Binary(operand="weight"):
            roles["operand"] = torch.ones(1, 4, 1, 1)
    made = b.add(params, *inputs, name="layer", **roles)
    b.add(P.Copy(), made, name="reader")
    return b.finish()


def fingerprint(plan: Plan, target: Target) -> tuple[str, tuple[object, ...]]:
    """Text and packing, without the digest, which always differs."""
    text, spec = render(plan, target)
    return generated(text).replace(plan.digest()[:16], ""), tuple(spec.layout.packed)


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda i: f"{CASES[i][0].op}-{'-'.join(CASES[i][1])}-{i}")
def test_every_field_changes_what_is_generated(case: int) -> None:
    params, change = CASES[case]
    before, after = plan_of(params), plan_of(replace(params, **change))
    assert fingerprint(before, AVX512) == fingerprint(plan_of(params), AVX512)
    assert fingerprint(before, AVX512) != fingerprint(after, AVX512)


def test_no_field_is_left_out() -> None:
    changed = {(type(params), name) for params, change in CASES for name in change}
    islands = {(P.Island, "steps")}  # in test_islands.py, op by op
    assert changed | islands == {(kind, f.name) for kind in P.PARAMS.values() for f in fields(kind)}


def test_the_target_shows() -> None:
    plan = convolution()
    avx2 = replace(AVX512, isa="avx2", vector_floats=8, registers=16)
    assert len({generated(render(plan, target)[0]) for target in (AVX512, PORTABLE, avx2)}) == 3
    wide = PlanBuilder(3, 5, 6)
    wide.conv("image", 64, (3, 3))  # enough channels for tiles of several vectors
    assert render(wide.finish(), avx2)[0] != render(wide.finish(), replace(avx2, registers=32))[0]
