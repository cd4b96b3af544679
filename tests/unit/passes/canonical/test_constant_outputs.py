from __future__ import annotations

import pytest
import torch
from torch import fx

from fluxshard.passes.canonical.constant_outputs import copy_constant_outputs
from tests.unit.passes.canonical.nets import IMAGE, Function, Net, assert_left_alone, calls_after
from tests.unit.passes.through import rewritten


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: (x, torch.arange(3) * 2), ["clone"]),
        (lambda m, x: {"a": x + 1, "b": m.gamma}, ["add", "clone"]),
        (lambda m, x: [m.gamma, m.gamma, x], ["clone"]),
    ],
    ids=["computed", "a parameter", "twice"],
)
def test_returned_constants_are_cloned(function: Function, expected: list[str]) -> None:
    assert calls_after(copy_constant_outputs, function) == expected


def test_the_result_shares_no_memory_with_the_model() -> None:
    net = Net(lambda m, x: (x + 1, m.gamma))
    _, returned = rewritten(copy_constant_outputs, net, IMAGE)(IMAGE)
    assert returned.data_ptr() != net.gamma.data_ptr()
    torch.testing.assert_close(returned, net.gamma.detach())


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x,
        lambda m, x: [x + m.gamma.view(4, 1, 1), {"n": 3, "text": "a", "none": None}],
    ],
    ids=["the image", "calls and literals"],
)
def test_leaves_alone(function: Function) -> None:
    assert_left_alone(copy_constant_outputs, function)


def test_every_output_is_a_call_or_the_image() -> None:
    graph_module = rewritten(copy_constant_outputs, Net(lambda m, x: (x, m.gamma, torch.ones(2))), IMAGE)
    leaves: list[fx.Node] = graph_module.graph.output_node().all_input_nodes
    assert [leaf.op for leaf in leaves] == ["placeholder", "call_function", "call_function"]
