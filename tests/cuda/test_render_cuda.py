"""Text of CUDA kernels: golden for one kernel of each kind, pure, and sensitive to every parameter.

`FLUXSHARD_UPDATE_GOLDEN=1 pytest tests/cuda/test_render_cuda.py` writes the golden files anew; read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import torch

from fluxshard.codegen.common import templates
from fluxshard.codegen.cuda.compile.render import header, render_kernel
from fluxshard.codegen.cuda.launches import kernels as module_of_kernels
from fluxshard.codegen.cuda.launches.kernels import (
    NOTHING,
    FewTile,
    Finish,
    Gemm,
    GemmTile,
    Inputs,
    Kernel,
    LaneLoad,
    LaneOp,
    LaneOutput,
    LanePart,
    Lanes,
    Rows,
    Small,
    name_of,
)
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.program import DEFAULT_ORDERS, kernels_of
from fluxshard.errors import RenderError
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.testing.plan_builder import PlanBuilder
from tests.unit.codegen.cpp.test_render import CASES, plan_of

GOLDEN = Path(__file__).parent / "golden"
HEADERS = ("prelude", "epilogue", "gemm", "rows", "lanes", "frame", "maps", "rules")
F16, F32 = CudaTarget(arch="sm_80", dtype="float16"), CudaTarget(arch="sm_80")
TILE = GemmTile(bm=64, bn=16, bk=32, stages=3, wm=4, wn=1, splits=2, slots=9)
ORDERS = (
    *DEFAULT_ORDERS,
    Order(planned=False, rfap="per_layer", remap=False),
    Order(planned=True, rfap="off", remap=False),
)


def generated(kernel: Kernel, args_bytes: int) -> str:
    """What depends on the parameters: headers are named, and the kernel is not."""
    _, _, text = render_kernel(kernel, args_bytes).replace(name_of(kernel), "NAME").split("\n", 2)
    for name in HEADERS:
        text = text.replace(header(f"cuda/{name}.cuh"), f"// {name}.cuh\n")
    return text


def net() -> Plan:
    """A convolution of two segments with a residual, rows of two kinds, and islands of two kinds."""
    b = PlanBuilder(3, 12, 16)
    low = b.conv("image", 12, (2, 2), stride=(2, 2), act=("silu",))
    both = b.add(P.Cat(), b.add(P.UpsampleNearest(factor=(2, 2)), low), b.conv("image", 8))
    other = b.conv("image", 21, bias=False)
    params = P.Conv2d(padding=((1, 1), (1, 1)), act=("silu",), act_after=("clamp", -1.0, 2.5))
    b.add(params, both, other, name="joined", weight=b.draw(21, 20, 3, 3), bias=b.draw(21))
    b.add(P.AvgPool2d(kernel=(3, 2), stride=(2, 2), padding=(1, 0)), both, name="mean")
    b.add(P.ChannelNorm(eps=1e-3), other, name="norm", gamma=b.draw(21))
    b.island("pooled", "aten.mean.dim", other, (2, 3), True)
    b.island("shares", "aten.softmax.int", other, 1, flat=True)
    return b.finish("joined", "pooled", "shares", name="Net")


# file -> stored type, layer and kernel
KERNELS: dict[str, tuple[CudaTarget, str, str]] = {
    "gemm_m16n8k16": (F16, "joined", "gemm"),
    "gemm_ffma": (F32, "joined", "gemm"),
    "rows_avg_pool": (F16, "mean", "avg_pool"),
    "rows_channel_norm": (F32, "norm", "channel_norm"),
    "small_begin": (F16, "", "begin"),
    "small_to_dense": (F16, "joined", "to_dense"),
    "small_candidates": (F32, "joined", "candidates"),
    "small_gate": (F32, "pooled", "gate"),
    "lanes": (F16, "shares", "lanes"),
}


@pytest.mark.parametrize("file", KERNELS)
def test_golden(file: str) -> None:
    target, layer, kind = KERNELS[file]
    steps = Describer(net(), target, {"joined": TILE}).order(DEFAULT_ORDERS[0])
    launches = [step for step in steps if isinstance(step, Launch) and step.layer == layer]
    (launch,) = [launch for launch in launches if name_of(launch.kernel).startswith(f"fs_{kind}")]
    text, path = generated(launch.kernel, launch.args.size), GOLDEN / f"{file}.cu"
    if os.environ.get("FLUXSHARD_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs: look at it, then run with FLUXSHARD_UPDATE_GOLDEN=1"
    assert "{{" not in text and "{%" not in text and "None" not in text


@pytest.mark.parametrize("target", [F16, F32], ids=lambda target: target.dtype)
def test_the_same_plan_gives_the_same_text(target: CudaTarget) -> None:
    def texts(plan: Plan) -> dict[str, str]:
        needed = kernels_of(Describer(plan, target), *ORDERS)
        return {name: render_kernel(kernel, args_bytes) for name, (kernel, args_bytes) in needed.items()}

    plan = net()
    found = texts(plan)
    assert found == texts(net()) == texts(Plan.from_json(plan.to_json()))
    for name, text in found.items():
        assert text.splitlines()[0].endswith(f" kernel {name}")
        assert plan.digest()[:16] not in text and plan.name not in text, "kernels are shared by models"
    assert len(set(found.values())) == len(found)


def _template(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    overlay = templates.environment().overlay(loader=jinja2.DictLoader({"cuda/kernel.cu.jinja": text}))
    monkeypatch.setattr(templates, "environment", lambda: overlay)


def test_a_name_that_the_template_does_not_get_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _template(monkeypatch, "a\nb {{ k.nothing }}")
    with pytest.raises(RenderError, match=r"cuda/kernel\.cu\.jinja.*no attribute 'nothing'"):
        render_kernel(SMALL, 8)
    _template(monkeypatch, "{{ unknown }}")
    with pytest.raises(RenderError, match="'unknown' is undefined"):
        render_kernel(SMALL, 8)


def test_a_template_that_is_broken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _template(monkeypatch, "a\n{% if %}")
    with pytest.raises(RenderError, match="line 2"):
        render_kernel(SMALL, 8)


# ---- perturbation: one field of the parameters of a kernel at a time

INPUTS = Inputs(counts=(16, 8), vec=8)
NUMBERS = ("0x1p+0f", "0x1p+1f", "0x1p+2f", "0x1p+3f")
FINISH = Finish(channels=24, act="ELU", act_after="CLAMP", numbers=NUMBERS, residual=Inputs(counts=(24,), vec=8))
GEMM = Gemm(dtype="float16", math="m16n8k16", tile=TILE, taps_y=3, taps_x=3, inputs=INPUTS, finish=FINISH)
FEW = FewTile(bm=32, bn=8, stages=2, wm=2, wn=2)
ROWS = Rows(
    dtype="float16", op="binary", inputs=INPUTS, other=Inputs(counts=(24,), vec=4), finish=FINISH,
    numbers=(("KIND", 0), ("SWAPPED", 0)),
)  # fmt: skip
LOAD = LaneLoad(inputs=INPUTS, to=0, pitch=32)
PART = LanePart(first=0, start=0, cells=70, width=10, loads=(LOAD,))
OP, OUTPUT = LaneOp(rows=24, statement="f[lane + r * 32] = 0.0f;"), LaneOutput(of=0, rows=24)
LANES = Lanes(dtype="float16", floats=832, lanes=70, constants=1, parts=(PART,), ops=(OP,), outputs=(OUTPUT,))
SMALL = Small(dtype="float32", header="maps", call="assign(a, 0)", args="AssignArgs", inputs=INPUTS, label="assign")

# class -> an instance, the kernel that it is put into, and by field what else it may be
Changes = dict[str, tuple[Any, ...]]
PERTURBED: dict[type, tuple[Any, Callable[[Any], Kernel], Changes]] = {
    Inputs: (
        INPUTS,
        lambda inputs: replace(GEMM, inputs=inputs),
        {"counts": ((16, 9), (15, 8), (8, 16), (16, 4, 4), (24,)), "vec": (4, 1)},
    ),
    Finish: (
        FINISH,
        lambda finish: replace(GEMM, finish=finish),
        {
            "channels": (23,), "act": ("NONE", "SILU"), "act_after": ("NONE", "SILU"), "bias": (True,),
            "slope": (True,),
            "numbers": tuple(tuple("0x1p+9f" if at == i else n for at, n in enumerate(NUMBERS)) for i in range(4)),
            "residual": (NOTHING, Inputs(counts=(24,), vec=4), Inputs(counts=(8, 16), vec=8)),
        },
    ),
    GemmTile: (
        TILE,
        lambda tile: replace(GEMM, tile=tile),
        {
            "bm": (128,), "bn": (32,), "bk": (16,), "stages": (2,), "wm": (2,), "wn": (2,), "tn": (8,),
            "splits": (1, 4), "table": (False,), "slots": (7,), "few": (FEW,),
        },
    ),
    FewTile: (
        FEW,
        lambda few: replace(GEMM, tile=replace(TILE, few=few)),
        {"bm": (64,), "bn": (16,), "stages": (3,), "wm": (4,), "wn": (1,)},
    ),
    Gemm: (
        GEMM,
        lambda gemm: gemm,
        {
            "dtype": ("bfloat16", "float32"), "math": ("m16n8k8", "ffma"), "tile": (replace(TILE, bk=64),),
            "taps_y": (1,), "taps_x": (1,), "inputs": (replace(INPUTS, vec=2),), "finish": (Finish(channels=24),),
        },
    ),
    Rows: (
        ROWS,
        lambda rows: rows,
        {
            "dtype": ("bfloat16", "float32"), "op": ("affine", "channel_norm"), "inputs": (replace(INPUTS, vec=2),),
            "other": (NOTHING, Inputs(counts=(24,), vec=2)), "finish": (Finish(channels=24),), "taps_y": (2,),
            "taps_x": (2,), "literal": ("0x1p-3f",),
            "numbers": ((("KIND", 1), ("SWAPPED", 0)), (("KIND", 0), ("SWAPPED", 1)), (("KIND", 0),)),
        },
    ),
    Small: (
        SMALL,
        lambda small: small,
        {
            "dtype": ("float16", "bfloat16"), "header": ("frame", "rules"), "call": ("assign(a, 1)",),
            "args": ("PhaseArgs",), "inputs": (NOTHING, Inputs(counts=(16, 8), vec=4)), "shared_bytes": (64,),
            "label": ("other",),
        },
    ),
    LaneLoad: (
        LOAD,
        lambda load: replace(LANES, parts=(replace(PART, loads=(load,)),)),
        {"inputs": (replace(INPUTS, vec=4),), "to": (64,), "pitch": (64,)},
    ),
    LanePart: (
        PART,
        lambda part: replace(LANES, parts=(part,)),
        {"first": (1,), "start": (64,), "cells": (60,), "width": (7,), "loads": ((LOAD, LOAD),)},
    ),
    LaneOp: (OP, lambda op: replace(LANES, ops=(op,)), {"rows": (23,), "statement": ("f[lane] = 1.0f;",)}),
    LaneOutput: (OUTPUT, lambda output: replace(LANES, outputs=(output,)), {"of": (32,), "rows": (23,)}),
    Lanes: (
        LANES,
        lambda lanes: lanes,
        {
            "dtype": ("bfloat16", "float32"), "floats": (1024,), "lanes": (71,), "constants": (2,),
            "parts": ((PART, replace(PART, first=3, start=70)),), "ops": ((OP, OP),), "outputs": ((OUTPUT, OUTPUT),),
        },
    ),
}  # fmt: skip
ONLY_THE_HOST_READS = {(Small, "shared_bytes"), (Small, "label"), (Lanes, "floats")}
FIELDS = [(kind, name, value) for kind, (_, _, of) in PERTURBED.items() for name in of for value in of[name]]


@pytest.mark.parametrize(
    ("kind", "name", "value"), FIELDS, ids=[f"{kind.__name__}.{name}-{i}" for i, (kind, name, _) in enumerate(FIELDS)]
)
def test_every_parameter_of_a_kernel_changes_its_text_and_name(kind: type, name: str, value: object) -> None:
    instance, kernel_with, _ = PERTURBED[kind]
    before, after = kernel_with(instance), kernel_with(replace(instance, **{name: value}))
    assert before != after and name_of(before) != name_of(after)
    assert render_kernel(before, 64) == render_kernel(kernel_with(replace(instance)), 64) != render_kernel(after, 64)
    shows = generated(before, 64) != generated(after, 64)
    assert shows == ((kind, name) not in ONLY_THE_HOST_READS)


def test_no_parameter_of_a_kernel_is_left_out() -> None:
    kinds = {kind for kind in vars(module_of_kernels).values() if isinstance(kind, type) and is_dataclass(kind)}
    assert kinds == set(PERTURBED)
    for kind, (_, _, of) in PERTURBED.items():
        assert {field.name for field in fields(kind)} == set(of), f"{kind.__name__} has a field without a case"


def test_the_size_of_arguments_is_asserted_by_the_text() -> None:
    assert generated(SMALL, 64) != generated(SMALL, 72)
    assert "sizeof(Args) == 72" in generated(SMALL, 72)


# ---- ... and one field of the parameters of an op


def described(plan: Plan, target: CudaTarget) -> tuple[object, ...]:
    """All that a plan becomes: launches in every order, and what lies in the constants."""
    describer = Describer(plan, target)
    launches = [
        (step.kernel, step.args, step.blocks, step.persistent) if isinstance(step, Launch) else step
        for order in ORDERS
        for step in describer.order(order)
    ]
    constants = describer.memory.constants
    return tuple(launches), tuple(constants.tables.items()), tuple(constants.packed)


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda i: f"{CASES[i][0].op}-{'-'.join(CASES[i][1])}-{i}")
def test_every_field_of_an_op_changes_what_is_described(case: int) -> None:
    params, change = CASES[case]
    before, after = plan_of(params), plan_of(replace(params, **change))
    for target in (F16, F32):
        assert described(before, target) == described(plan_of(params), target)
        assert described(before, target) != described(after, target)


def test_the_weights_of_a_layer_are_packed_for_its_kernel() -> None:
    """Another tile or type is another order of the same numbers."""
    b = PlanBuilder(4, 9, 11)
    conv = b.conv("image", 40, (3, 3))
    plan = b.finish()
    tiles = [{}, {conv: TILE}, {conv: replace(TILE, bk=16)}, {conv: replace(TILE, bn=48)}]
    packed = [tuple(Describer(plan, F16, tile).memory.constants.packed) for tile in tiles]
    packed.append(tuple(Describer(plan, F32, {conv: TILE}).memory.constants.packed))
    assert len(set(packed)) == len(packed)
    assert torch.float16.itemsize * 3 * 16 * 64 == packed[1][0].n_bytes, "40 channels in tiles of 16, depth 36 in 32s"
