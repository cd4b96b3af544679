from __future__ import annotations

import pytest
from torch import fx

from fluxshard.passes.canonical.operands import normalise_operands
from tests.unit.passes.canonical.nets import Function, assert_left_alone, nodes_after


def shape_of(node: object) -> tuple[int, ...]:
    assert isinstance(node, fx.Node)
    return tuple(node.meta["val"].shape)


@pytest.mark.parametrize("function", [lambda m, x: x * m.one, lambda m, x: m.one * x], ids=["second", "first"])
def test_one_element_becomes_a_number_and_comes_second(function: Function) -> None:
    (mul,) = nodes_after(normalise_operands, function)
    assert isinstance(mul.args[0], fx.Node) and mul.args[1] == 1.5


@pytest.mark.parametrize("function", [lambda m, x: x + m.vector, lambda m, x: m.vector + x], ids=["second", "first"])
def test_channels_become_a_vector_of_rank_4_and_come_second(function: Function) -> None:
    (add,) = nodes_after(normalise_operands, function)
    assert shape_of(add.args[0]) == (1, 4, 6, 8) and shape_of(add.args[1]) == (1, 4, 1, 1)


def test_the_order_of_differences_stays() -> None:
    (sub,) = nodes_after(normalise_operands, lambda m, x: m.vector - x)
    assert shape_of(sub.args[0]) == (1, 4, 1, 1) and shape_of(sub.args[1]) == (1, 4, 6, 8)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x * m.positions,
        lambda m, x: x.flatten(1) * m.one,
        lambda m, x: x * x.mean((2, 3), keepdim=True),
        lambda m, x: x.permute(0, 2, 3, 1) * m.gamma,
        lambda m, x: (x * 2 + m.vector[None] - 1) / 3,
    ],
    ids=["varies over positions", "not a map", "not constant", "channels last", "in form"],
)
def test_leaves_alone(function: Function) -> None:
    assert_left_alone(normalise_operands, function)
