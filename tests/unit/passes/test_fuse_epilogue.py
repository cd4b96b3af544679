from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fluxshard.passes.annotate_receptive_field import annotate_receptive_field
from fluxshard.passes.canonicalize import canonicalize
from fluxshard.passes.fold_batchnorm import fold_batchnorm
from fluxshard.passes.fuse_epilogue import fuse_epilogue
from fluxshard.passes.fuse_padding import fuse_padding
from fluxshard.testing import assert_pass_preserves, ops

IMAGE = torch.linspace(-2, 2, 4 * 6 * 6).reshape(1, 4, 6, 6)
PASSES = (canonicalize, fold_batchnorm, annotate_receptive_field, fuse_padding, fuse_epilogue)


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
    return assert_pass_preserves(PASSES, Net(function), IMAGE)


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


def test_padding_goes_into_the_convolution() -> None:
    graph_module = fused(lambda m, x: m.b(F.pad(x, (0, 1, 2, 0))))
    assert ops(graph_module) == ["conv2d"]
    assert call(graph_module).kwargs["padding"] == ((2, 0), (0, 1))


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.a(F.pad(x, (0, 1, 0, 1), value=1.0)),
        lambda m, x: m.a(F.pad(x, (0, 1, 0, 1), mode="replicate")),
        lambda m, x: m.a(F.pad(x, (0, -1, 0, 1))),
        lambda m, x: [y := F.pad(x, (0, 1, 0, 1)), m.a(y)],
    ],
    ids=["not zero", "replicate", "crop", "another reader"],
)
def test_padding_stays(function: Callable[[Net, Tensor], object]) -> None:
    assert ops(fused(function)) == ["pad", "conv2d"]
