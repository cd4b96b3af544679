from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from fluxshard.errors import PlanError
from fluxshard.geometry import Grid, ReceptiveField, Window, conv_window, nearest_window
from fluxshard.ir.params import Cat, Conv2d, Copy, Island, IslandStep, Ref, UpsampleNearest
from fluxshard.ir.plan import LayerSpec, Output, Plan, ValueSpec, WeightSpec
from fluxshard.ir.verify import verify

POINT = (Window(), Window())
CONV = LayerSpec(
    name="conv",
    params=Conv2d(stride=(2, 2), padding=((1, 1), (1, 1)), act=("relu",)),
    inputs=("x",),
    outputs=("conv",),
    weights=(("weight", "w"), ("bias", "b")),
    windows=(conv_window(3, 2, 1), conv_window(3, 2, 1)),
    macs=1,
)
COPY = LayerSpec(name="copy", params=Copy(), inputs=("x",), outputs=("copy",), windows=POINT)
UP = LayerSpec(
    name="up",
    params=UpsampleNearest(factor=(2, 2)),
    inputs=("conv",),
    outputs=("up",),
    windows=(nearest_window(2), nearest_window(2)),
    mode="view",
)
CAT = LayerSpec(name="cat", params=Cat(), inputs=("copy", "up"), outputs=("cat",), windows=POINT, mode="view")
ISLAND = LayerSpec(
    name="island_0",
    params=Island(
        steps=(
            IslandStep(name="mean", target="aten.mean.dim", args=(Ref(name="cat"), (2, 3))),
            IslandStep(name="linear", target="aten.linear.default", args=(Ref(name="mean"), Ref(name="l"))),
        )
    ),
    inputs=("cat",),
    outputs=("linear",),
    weights=(("l", "l"),),
    mode="dense",
    reason="means over an axis",
)
PLAN = Plan(
    name="Net",
    input="x",
    grids=(Grid(8, 12), Grid(4, 6, Fraction(2), Fraction(2))),
    values=(
        ValueSpec(name="x", shape=(1, 3, 8, 12), grid=0),
        ValueSpec(name="conv", shape=(1, 5, 4, 6), grid=1),
        ValueSpec(name="copy", shape=(1, 3, 8, 12), grid=0),
        ValueSpec(name="up", shape=(1, 5, 8, 12), grid=0),
        ValueSpec(name="cat", shape=(1, 8, 8, 12), grid=0),
        ValueSpec(name="linear", shape=(1, 2), grid=None),
    ),
    layers=(CONV, COPY, UP, CAT, ISLAND),
    weights=(
        WeightSpec(name="w", shape=(5, 3, 3, 3)),
        WeightSpec(name="b", shape=(5,)),
        WeightSpec(name="l", shape=(2, 8)),
    ),
    outputs=(Output(value="linear"), Output(value="conv"), Output(literal=3)),
    output_tree="",
)


def value(name: str, **changes: Any) -> Plan:
    return replace(PLAN, values=tuple(replace(v, **changes) if v.name == name else v for v in PLAN.values))


def layer(name: str, **changes: Any) -> Plan:
    return replace(PLAN, layers=tuple(replace(made, **changes) if made.name == name else made for made in PLAN.layers))


def weight(name: str, **changes: Any) -> Plan:
    return replace(PLAN, weights=tuple(replace(w, **changes) if w.name == name else w for w in PLAN.weights))


def steps(*made: IslandStep) -> Plan:
    return layer("island_0", params=Island(steps=made))


def test_a_plan_that_keeps_the_rules() -> None:
    verify(PLAN)


BROKEN = {
    "names": (replace(PLAN, values=(*PLAN.values, PLAN.values[-1])), "values: each value has its own name"),
    "grids": (replace(PLAN, grids=(*PLAN.grids, PLAN.grids[0])), "grids: each grid is listed once"),
    "image": (replace(PLAN, input="y"), "y: the image is a value"),
    "first grid": (replace(PLAN, grids=PLAN.grids[::-1]), "x: the first grid is the image's"),
    "grid index": (value("up", grid=7), "up: its grid is one of the plan's"),
    "grid shape": (value("up", shape=(1, 5, 8, 11)), "up: its shape is"),
    "order": (replace(PLAN, layers=PLAN.layers[::-1]), "island_0: input 'cat' is produced before it is used"),
    "twice": (layer("copy", outputs=("conv",)), "copy: output 'conv' is a value that no other layer produces"),
    "never": (replace(PLAN, layers=PLAN.layers[:-1]), "values: every value is produced: linear"),
    "no weight": (replace(PLAN, weights=PLAN.weights[1:]), "conv: its weight 'w' is a weight of the plan"),
    "unread weight": (
        replace(PLAN, weights=(*PLAN.weights, WeightSpec(name="z", shape=()))),
        "weights: every weight is read: z",
    ),
    "mode": (layer("cat", mode="sparse"), "cat: 'sparse' is not how a cat runs"),
    "stored island": (layer("island_0", mode="sparse"), "island_0: 'sparse' is not how"),
    "view of the image": (layer("cat", inputs=("x", "up")), "cat: a view reads a copy of the image"),
    "inputs": (layer("copy", inputs=("x", "x")), "copy: a copy has not 2 inputs"),
    "other grid": (layer("cat", inputs=("copy", "conv")), "cat: 'conv' is on the grid of the result"),
    "residual's shape": (layer("conv", inputs=("x", "x")), "conv: 'x' is on the grid of the result"),
    "roles": (
        layer("conv", weights=(("weight", "w"), ("shift", "b"))),
        "conv: roles ['shift', 'weight'] are not those of a conv2d",
    ),
    "role twice": (layer("conv", weights=(*CONV.weights, ("bias", "b"))), "conv: each role is given once"),
    "weight's shape": (weight("w", shape=(5, 4, 3, 3)), "conv: its weight (5, 4, 3, 3) is"),
    "bias's shape": (weight("b", shape=(4,)), "conv: its bias (4,) is (5,)"),
    "weight's dtype": (weight("b", dtype="float64"), "conv: its weights are float32"),
    "activation": (layer("conv", params=replace(CONV.params, act=("relux",))), "conv: ('relux',) is an activation"),
    "its numbers": (layer("conv", params=replace(CONV.params, act=("elu",))), "conv: ('elu',) is an activation"),
    "slopes": (layer("conv", params=replace(CONV.params, act=("prelu",))), "conv: slopes are there for a PReLU only"),
    "act after": (layer("conv", params=replace(CONV.params, act_after=("relu",))), "conv: an activation after the sum"),
    "channels": (value("cat", shape=(1, 9, 8, 12)), "cat: a cat has the channels of its inputs"),
    "size": (
        layer("conv", params=replace(CONV.params, padding=((0, 0), (1, 1)))),
        "conv: its result has 3x6 cells, not 4x6",
    ),
    "windows": (layer("conv", windows=POINT), "conv: its windows are those of its parameters"),
    "no windows": (layer("copy", windows=None), "copy: its windows are those of its parameters"),
    "grid": (
        replace(PLAN, grids=(PLAN.grids[0], Grid(4, 6, Fraction(2), Fraction(4)))),
        "conv: its grid follows from its input's",
    ),
    "window of an island": (layer("island_0", windows=POINT), "island_0: an island has no window"),
    "field of an island": (
        layer("island_0", fields=(ReceptiveField(), ReceptiveField())),
        "island_0: an island has no window",
    ),
    "island's role": (layer("island_0", weights=(("weight", "l"),)), "island_0: each weight's role is its name"),
    "step reads": (
        steps(IslandStep(name="linear", target="aten.linear.default", args=(Ref(name="l"), Ref(name="what")))),
        "['what'], which nothing produced",
    ),
    "step's name": (
        steps(IslandStep(name="cat", target="aten.relu.default", args=(Ref(name="cat"),))),
        "step 'cat' has its own name",
    ),
    "step's target": (steps(IslandStep(name="linear", target="relu")), "'relu' is an overload"),
    "island's output": (
        steps(IslandStep(name="other", target="aten.relu.default", args=(Ref(name="cat"),))),
        "its outputs are results of its steps",
    ),
    "outputs": (replace(PLAN, outputs=(Output(literal=1),)), "outputs: at least one output is a value"),
    "output": (replace(PLAN, outputs=(Output(value="what"),)), "output 0: 'what' is a value"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_rule_names_where_it_is_broken(case: str) -> None:
    plan, message = BROKEN[case]
    with pytest.raises(PlanError) as caught:
        verify(plan)
    assert message in str(caught.value)
