"""Plans as text, JSON and digest."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.errors import PlanError
from fluxshard.ir.params import Conv2d
from fluxshard.ir.plan import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(3, 2, 1),
        nn.Upsample(scale_factor=2),
        nn.AdaptiveAvgPool2d(1),
    )
    options = fluxshard.CompileOptions(backend="reference")
    return fluxshard.compile(net.eval(), torch.zeros(1, 3, 33, 47), options=options).plan


def test_json_round_trip_is_exact(plan: Plan) -> None:
    again = Plan.from_json(plan.to_json())
    assert again == plan and again.digest() == plan.digest() and again.to_text() == plan.to_text()


def test_digest_sees_every_number(plan: Plan) -> None:
    first = plan.layers[0]
    assert isinstance(first.params, Conv2d)
    changed = replace(first, params=replace(first.params, act=("leaky_relu", 0.1 + 1e-12)))
    before = plan.digest()  # kept by this plan, and not by what is made of it
    assert replace(plan, layers=(changed, *plan.layers[1:])).digest() != before == plan.digest()


def test_maxima_of_the_paper(plan: Plan) -> None:
    assert plan.s_max == 4 and plan.r_max == 3 * 2  # the pool: 3 cells of stride 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "name": "x"}', '{"format": 1, "name": {"$": "Nope"}}']
)
def test_what_is_not_a_plan(text: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(text)


def test_json_is_json(plan: Plan) -> None:
    assert json.loads(plan.to_json())["name"] == "Sequential"


def test_layers_are_found_by_name(plan: Plan) -> None:
    assert [plan.layer(layer.name) for layer in plan.layers] == list(plan.layers)
    assert [plan.layer_index(layer.name) for layer in plan.layers] == list(range(len(plan.layers)))
    changed = replace(plan, layers=plan.layers[1:])
    assert changed.layer_index(plan.layers[1].name) == 0


def test_names_that_are_not_there(plan: Plan) -> None:
    name = plan.layers[0].name
    with pytest.raises(PlanError, match=f"plan Sequential has no layer '{name}x' \\('{name}'.*see plan.to_text"):
        plan.layer(f"{name}x")
    with pytest.raises(PlanError, match=r"has no layer 'qqqq' \(none is close\)"):
        plan.layer_index("qqqq")
    with pytest.raises(PlanError, match="has no value 'qqqq'"):
        plan.value("qqqq")


def test_indices_by_name_are_no_part_of_a_plan(plan: Plan) -> None:
    again = Plan.from_json(plan.to_json())
    object.__setattr__(again, "_values", {})
    object.__setattr__(again, "_layer_indices", {})
    assert again == plan and hash(again) == hash(plan) and repr(again) == repr(plan)
    assert again.digest() == plan.digest() and "_layer" not in plan.to_json()
    copied = pickle.loads(pickle.dumps(plan))
    assert copied == plan and copied.layer(plan.layers[0].name) == plan.layers[0]
