"""The paper's greedy search: budgets by hand, thresholds against trying all, and the layers that get them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import fluxshard
from fluxshard.evaluate.calibration.coordinate_descent import MeasuredPoint
from fluxshard.evaluate.calibration.propagated_search import (
    CANDIDATES,
    INPUT,
    INPUT_CANDIDATES,
    Stage,
    greedy,
    stages,
    truncation_points,
)
from fluxshard.ir.plan import Plan

GRID = (0.0, 0.1, 0.2, 0.4, 0.8)


def test_budgets_of_equations_11_and_12() -> None:
    """3 % may be lost: 2 % by the input, and a third of 1 % by each of three layers."""
    planned = stages(("a", "b", "c"), alpha=0.97, split=2 / 3)
    assert [stage.name for stage in planned] == [INPUT, "a", "b", "c"]
    assert planned[0].budget == pytest.approx(0.02)
    assert [stage.budget for stage in planned[1:]] == pytest.approx([0.01 / 3] * 3)
    assert planned[0].candidates == INPUT_CANDIDATES and planned[1].candidates == CANDIDATES
    for candidates in (INPUT_CANDIDATES, CANDIDATES):
        assert candidates[0] == 0 and list(candidates) == sorted(set(candidates))


def test_without_layers_the_input_has_the_whole_budget() -> None:
    (only,) = stages((), alpha=0.9, split=0.5)
    assert only.name == INPUT and only.budget == pytest.approx(0.1)


class Costs:
    """Accuracy falls by a cost per threshold, added up; work falls with every threshold."""

    def __init__(self, dense: float, costs: dict[str, dict[float, float]]) -> None:
        self.dense, self.costs = dense, costs
        self.measured: list[dict[str, float]] = []

    def __call__(self, thresholds: dict[str, float]) -> tuple[float, float]:
        self.measured.append(dict(thresholds))
        return 1 / (1 + sum(thresholds.values())), self.accuracy(thresholds)

    def accuracy(self, thresholds: dict[str, float]) -> float:
        return self.dense - sum(self.costs[name][value] for name, value in thresholds.items())


def largest_allowed(planned: tuple[Stage, ...], costs: Costs) -> dict[str, float]:
    """As the paper says it: every candidate is tried, and the drop so far is held against the budget so far."""
    chosen: dict[str, float] = {}
    for index, stage in enumerate(planned):
        budget = sum(earlier.budget for earlier in planned[: index + 1]) * costs.dense
        allowed = [
            value
            for value in stage.candidates
            if costs.dense - costs.accuracy({**chosen, stage.name: value}) <= budget + 1e-12
        ]
        chosen[stage.name] = max(allowed)
    return chosen


@st.composite
def monotone(draw: st.DrawFn) -> tuple[tuple[Stage, ...], Costs]:
    """Budgets in whole 64ths and costs between them, so that no rounding decides."""
    names = [INPUT, "a", "b", "c"][: draw(st.integers(1, 4))]
    planned = tuple(Stage(name, GRID, draw(st.integers(0, 8)) / 64) for name in names)
    costs = {}
    for name in names:
        steps = sorted(draw(st.lists(st.integers(0, 12), min_size=len(GRID) - 1, max_size=len(GRID) - 1)))
        costs[name] = dict(zip(GRID, [0.0, *((step + step % 2 / 8) / 64 for step in steps)], strict=True))
    return planned, Costs(draw(st.sampled_from([1.0, 0.5])), costs)


@given(monotone())
def test_the_largest_threshold_within_the_budget_so_far(case: tuple[tuple[Stage, ...], Costs]) -> None:
    planned, costs = case
    reported: list[tuple[str, float, MeasuredPoint]] = []
    chosen, best, measured = greedy(
        planned, costs, costs.dense, lambda stage, tau, point: reported.append((stage.name, tau, point))
    )
    assert chosen == largest_allowed(planned, costs) and list(chosen) == [stage.name for stage in planned]
    assert best.accuracy == costs.accuracy(chosen) and best.work == 1 / (1 + sum(chosen.values()))
    assert [(name, tau) for name, tau, _ in reported] == list(chosen.items()) and reported[-1][2] == best
    assert [point.point for point in measured] == costs.measured
    # the dense point, and a bisection of five candidates per stage
    assert len(measured) <= 1 + 3 * len(planned)


def test_what_a_stage_leaves_of_its_budget_is_for_the_next() -> None:
    planned = (Stage("a", (0.0, 1.0), 0.04), Stage("b", (0.0, 1.0), 0.02))
    costs = Costs(1.0, {"a": {0.0: 0.0, 1.0: 0.01}, "b": {0.0: 0.0, 1.0: 0.045}})
    assert greedy(planned, costs, 1.0)[0] == {"a": 1.0, "b": 1.0}
    costs = Costs(1.0, {"a": {0.0: 0.0, 1.0: 0.05}, "b": {0.0: 0.0, 1.0: 0.055}})
    assert greedy(planned, costs, 1.0)[0] == {"a": 0.0, "b": 1.0}


def test_budgets_are_shares_of_the_dense_accuracy() -> None:
    costs = Costs(0.5, {"a": {0.0: 0.0, 1.0: 0.04}})
    assert greedy((Stage("a", (0.0, 1.0), 0.1),), costs, 0.5)[0] == {"a": 1.0}
    assert greedy((Stage("a", (0.0, 1.0), 0.07),), costs, 0.5)[0] == {"a": 0.0}


def test_no_stages_no_thresholds_and_unknown_accuracy_is_not_allowed() -> None:
    chosen, best, measured = greedy((), lambda _: (0.7, 0.9), 0.9)
    assert chosen == {} and best == MeasuredPoint({}, 0.7, 0.9) and measured == [best]
    chosen, best, _ = greedy(
        (Stage("a", GRID, 0.5),), lambda thresholds: (0.5, math.nan if thresholds.get("a") else 1.0), 1.0
    )
    assert chosen == {"a": 0.0} and best.accuracy == 1


class Excited(nn.Module):
    """Convolutions, a block of squeeze and excitation between them, attention behind, and an output that is read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.light = nn.Conv2d(8, 8, 1)
        self.plain = nn.Conv2d(8, 8, 3, 1, 1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.heavy = nn.Conv2d(8, 16, 3, 1, 1)
        self.query = nn.Conv2d(16, 16, 1)
        self.last = nn.Conv2d(16, 4, 3, 1, 1)
        self.final = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        x = nn.functional.silu(self.light(x))
        x = self.plain(x)
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = nn.functional.silu(self.heavy(x * gate))
        rows = self.query(x).flatten(2)
        mixed = torch.softmax(rows.transpose(1, 2) @ rows, -1)
        x = x + (rows @ mixed).view_as(x)
        x = torch.relu(self.last(x))
        return torch.relu(self.final(x)).flatten(1)


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    torch.manual_seed(0)
    options = fluxshard.CompileOptions(backend="reference")
    return fluxshard.compile(Excited().eval(), torch.zeros(1, 3, 16, 16), options=options)


@pytest.fixture(scope="module")
def plan(model: fluxshard.CompiledModel) -> Plan:
    return model.plan


def islands_of(plan: Plan) -> list[str]:
    return [layer.name for layer in plan.layers if layer.op == "island"]


def test_islands_that_are_read_get_thresholds(plan: Plan) -> None:
    *read, last = islands_of(plan)
    assert len(read) >= 2, plan.to_text()  # the gate, and attention
    assert all(name not in {i for layer in plan.layers for i in layer.inputs} for name in plan.layers[-1].outputs)
    assert plan.layers[-1].name == last  # the flattened result, which nobody reads
    assert truncation_points(plan, 0) == tuple(read)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 50])
def test_activated_layers_besides_are_at_most_so_many_and_in_network_order(plan: Plan, most: int) -> None:
    points = truncation_points(plan, most)
    order = [layer.name for layer in plan.layers]
    assert list(points) == [name for name in order if name in points]
    activated = {name for name in points if name not in islands_of(plan)}
    assert 1 <= len(activated) <= most
    # `plain` and `query` have no activation
    assert activated <= {"stem", "light", "heavy", "last", "final"}, plan.to_text()
    assert set(islands_of(plan)[:-1]) <= set(points)


def test_layers_are_spread_over_the_work(plan: Plan) -> None:
    """Multiply-accumulates of the activated layers that are read, on 64 cells each."""
    macs = {"stem": 27 * 8, "light": 64, "heavy": 72 * 16, "last": 144 * 4}
    by_name = {layer.name: layer for layer in plan.layers}
    assert {name: by_name[name].macs for name in macs} == {name: 64 * count for name, count in macs.items()}
    total = sum(macs.values())  # 2008 with `final`: 2152
    total += 36 * 4
    assert by_name["final"].macs == 64 * 144 and total == 2152
    inside = [name for name in truncation_points(plan, 2) if name not in islands_of(plan)]
    assert inside == ["heavy", "final"]  # 1432 of 2152 pass a half, the end is always reached
    inside = [name for name in truncation_points(plan, 4) if name not in islands_of(plan)]
    assert inside == ["heavy", "last", "final"]  # quarters are passed at 538 and 1076, 1614, and 2152


def test_a_session_takes_the_points_as_thresholds(model: fluxshard.CompiledModel) -> None:
    """With huge thresholds at all of them nothing behind changes; without, one changed corner changes everything."""
    points = truncation_points(model.plan, 50)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[..., :4, :4] = 1 - changed[..., :4, :4]
    outputs = []
    for tau in (0.0, 1e6):
        with model.session(fluxshard.ReuseOptions(tau=dict.fromkeys(points, tau), scene_cut=1.0)) as session:
            outputs.append((session.run(image), session.run(changed)))
    assert not torch.equal(*outputs[0]) and torch.equal(*outputs[1])
