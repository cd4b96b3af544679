from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fluxshard.passes.fuse_epilogue import fuse_epilogue
from fluxshard.testing import ops
from tests.unit.passes.through import before, described, rewritten

IMAGE = torch.linspace(-2, 2, 4 * 6 * 6).reshape(1, 4, 6, 6)


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(0)
        self.a = nn.Conv2d(4, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.slopes, self.slope = nn.PReLU(4, 0.3), nn.PReLU(1, 0.1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def fused(function: Callable[[Net, Tensor], object]) -> fx.GraphModule:
    return rewritten(fuse_epilogue, Net(function), IMAGE)


def call(graph_module: fx.GraphModule, index: int = -1) -> fx.Node:
    return [node for node in graph_module.graph.nodes if node.op == "call_function"][index]


@pytest.mark.parametrize(
    ("function", "act", "act_after", "added"),
    [
        (lambda m, x: F.relu(m.a(x)), ("relu",), None, False),
        (lambda m, x: F.leaky_relu(m.up(x), 0.2), ("leaky_relu", 0.2), None, False),
        (lambda m, x: F.gelu(m.a(x), approximate="tanh"), ("gelu_tanh",), None, False),
        (lambda m, x: F.elu(m.a(x), 0.7), ("elu", 0.7), None, False),
        (lambda m, x: F.relu(m.a(x)) + x, ("relu",), None, True),
        (lambda m, x: F.relu(x + m.a(x)), None, ("relu",), True),
        (lambda m, x: F.silu(F.relu6(m.a(x)) + x), ("relu6",), ("silu",), True),
    ],
)
def test_fuses(function: Callable[[Net, Tensor], object], act: object, act_after: object, added: bool) -> None:
    graph_module = fused(function)
    assert len(ops(graph_module)) == 1
    assert (call(graph_module).kwargs["act"], call(graph_module).kwargs["act_after"]) == (act, act_after)
    assert ("residual" in call(graph_module).kwargs) == added


def test_prelu_brings_one_slope_per_channel() -> None:
    graph_module = fused(lambda m, x: m.slope(m.a(x)))
    slope = call(graph_module).kwargs["slope"]
    assert isinstance(slope, fx.Node)
    assert tuple(slope.meta["val"].shape) == (4,)


def test_a_second_prelu_stays() -> None:
    graph_module = fused(lambda m, x: m.slopes(m.slope(m.a(x)) + x))
    assert ops(graph_module) == ["conv2d", "prelu"]


def test_the_later_of_two_convolutions_takes_the_sum() -> None:
    graph_module = fused(lambda m, x: F.relu(m.b(x)) + F.relu(m.a(x)))
    assert ops(graph_module) == ["conv2d", "conv2d"]
    first, second = call(graph_module, 0), call(graph_module, 1)
    assert second.kwargs["residual"] is first
    assert "a.weight" in str(second.args[1].target)  # type: ignore[union-attr]


def test_norms_sums_and_products_take_activations() -> None:
    assert ops(fused(lambda m, x: F.relu(m.norm(x)))) == ["affine"]
    graph_module = fused(lambda m, x: torch.sigmoid(x * 2))
    assert ops(graph_module) == ["binary"]
    assert call(graph_module).kwargs["act"] == ("sigmoid",)
    assert call(graph_module).kwargs["scalar"] == 2.0


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: [y := m.a(x), F.relu(y)], ["conv2d", "relu"]),
        (lambda m, x: (y := m.a(x)) + y, ["conv2d", "add"]),
        (lambda m, x: m.a(x) + x[:, :, :1, :1], ["conv2d", "pad", "pad", "add"]),
        (lambda m, x: m.a(x) * x, ["conv2d", "mul"]),
        (lambda m, x: torch.add(m.a(x), x, alpha=2), ["conv2d", "add"]),
        (lambda m, x: F.softplus(m.a(x)), ["conv2d", "softplus"]),
        (lambda m, x: F.relu(m.b(F.adaptive_avg_pool2d(x, 1))), ["adaptive_avg_pool2d", "conv2d", "relu"]),
    ],
    ids=["another reader", "itself", "stretched", "product", "scaled", "unknown activation", "no grid"],
)
def test_leaves_alone(function: Callable[[Net, Tensor], object], expected: list[str]) -> None:
    assert ops(fused(function)) == expected


def test_a_sum_with_what_came_from_an_island_on_no_grid_stays() -> None:
    # the right operand has the shape of the result, but its cells are not the image's
    graph_module = fused(lambda m, x: m.a(x) + torch.flip(x, (1,)).softmax(1).flatten(1).view(1, 4, 6, 6))
    assert ops(graph_module)[-1] in ("add", "conv2d")


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: F.relu(x[:, :, 1:, :]),
        lambda m, x: F.relu(F.max_pool2d(x, 2)),
        lambda m, x: [y := m.a(x), F.relu(y)],
        lambda m, x: F.relu(m.b(F.adaptive_avg_pool2d(x, 1))),
    ],
    ids=["a pad", "a pool", "another reader", "what runs whole"],
)
def test_what_it_leaves_alone_is_not_touched(function: Callable[[Net, Tensor], object]) -> None:
    assert described(fused(function)) == described(before(fuse_epilogue, Net(function), IMAGE))
