from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fluxshard.options import CompileOptions
from fluxshard.passes import apply_passes
from fluxshard.passes.canonical.fold_constants import fold_constants
from fluxshard.passes.capture.trace import trace
from fluxshard.testing import ops
from tests.unit.passes.canonical.nets import IMAGE, Function, Net, assert_left_alone, calls_after, nodes_after


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: x * (torch.arange(4).view(4, 1, 1) + m.vector).sqrt(), ["mul"]),
        (lambda m, x: x * (torch.arange(4, dtype=torch.float64).type_as(x).view(4, 1, 1) + 1), ["mul"]),
        (lambda m, x: x + (torch.ones_like(x[:, :, :1, :1]) + x.new_full((4, 1, 1), 2.0)), ["add"]),
        (lambda m, x: x + (torch.full_like(x.relu(), 3.0) - 1), ["add"]),
        (lambda m, x: x + torch.split(m.gamma * 2, [1, 3])[0], ["add"]),
    ],
    ids=["weights", "only the dtype is read", "only the shape is read", "like something computed", "several results"],
)
def test_calls_on_constants_become_constants(function: Function, expected: list[str]) -> None:
    assert calls_after(fold_constants, function) == expected


def test_the_constant_is_a_buffer_with_the_value() -> None:
    (add,) = nodes_after(fold_constants, lambda m, x: x + (torch.arange(4.0) * 0.5).view(4, 1, 1))
    source = add.args[1]
    owner = add.graph.owning_module
    assert owner is not None
    torch.testing.assert_close(owner.get_buffer(source.target), torch.tensor([0, 0.5, 1, 1.5]).view(4, 1, 1))


def test_it_has_the_path_of_the_module_that_computed_it() -> None:
    class Scale(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (torch.arange(4.0).view(4, 1, 1) + 1)

    net = torch.nn.Sequential(Scale())
    graph_module = apply_passes(trace(net, IMAGE).graph_module, (fold_constants,), CompileOptions())
    (mul,) = (node for node in graph_module.graph.nodes if node.op == "call_function")
    assert str(mul.args[1].target).startswith("0.")


@pytest.mark.parametrize(
    "function",
    [lambda m, x: x + m.vector, lambda m, x: (x + 1, m.gamma), lambda m, x: x.sum() * x],
    ids=["what is a constant already", "a returned parameter", "what depends on the image"],
)
def test_leaves_alone(function: Function) -> None:
    assert_left_alone(fold_constants, function)


def test_random_numbers_are_not_constants() -> None:
    net = Net(lambda m, x: x + torch.rand(1, 1, 6, 8) * 2)
    graph_module = apply_passes(trace(net, IMAGE).graph_module, (fold_constants,), CompileOptions())
    assert ops(graph_module) == ["rand", "mul", "add"]
