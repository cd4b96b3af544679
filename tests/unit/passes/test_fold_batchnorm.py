from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fluxshard.passes.fold_batchnorm import fold_batchnorm
from fluxshard.testing import ops
from tests.unit.passes.through import before, described, rewritten

IMAGE = torch.linspace(-1, 1, 4 * 5 * 7).reshape(1, 4, 5, 7)


def norm(channels: int, **options: object) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels, **options)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(channels)
    for tensor in (made.running_mean, made.running_var, made.weight, made.bias):
        if tensor is not None:
            tensor.data.copy_(torch.rand(channels, generator=generator) + 0.25)
    return made


class Chain(nn.Module):
    def __init__(self, *layers: nn.Module, both: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.both = both

    def forward(self, x: Tensor) -> object:
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        return seen if self.both else x


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 3, padding=1, stride=2, bias=False),
        nn.Conv2d(4, 6, (1, 3), groups=2, dilation=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2),
        nn.ConvTranspose2d(4, 6, 2, bias=False, groups=1),
    ],
    ids=["conv", "grouped", "transposed and grouped", "transposed"],
)
def test_folds_into_a_convolution(conv: nn.Module) -> None:
    graph_module = rewritten(fold_batchnorm, Chain(conv, norm(6)), IMAGE)
    assert ops(graph_module) == [{nn.Conv2d: "conv2d", nn.ConvTranspose2d: "conv_transpose2d"}[type(conv)]]


class Scaled(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], channels: int = 6) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, channels, 1), norm(channels, affine=False)
        self.gamma, self.function = nn.Parameter(torch.rand(6, 1, 1) + 0.5), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.norm(self.conv(x)), self.gamma)


@pytest.mark.parametrize(
    "function",
    [lambda y, g: y * g, lambda y, g: g + y, lambda y, g: y - g, lambda y, g: y / g * 3 - 1, lambda y, g: y / 2 + 1],
)
def test_folds_arithmetic_with_constants_per_channel(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert ops(rewritten(fold_batchnorm, Scaled(function), IMAGE)) == ["conv2d"]


@pytest.mark.parametrize(
    ("function", "channels"),
    [
        (lambda y, g: y * g, 1),  # the constant stretches the result
        (lambda y, g: 1 - y, 6),
        (lambda y, g: torch.add(y, g, alpha=2), 6),
        (lambda y, g: y * torch.rand(5, 7, generator=torch.Generator().manual_seed(0)), 6),
    ],
    ids=["stretched", "reversed", "scaled", "per position"],
)
def test_leaves_other_arithmetic(function: Callable[[Tensor, Tensor], Tensor], channels: int) -> None:
    assert len(ops(rewritten(fold_batchnorm, Scaled(function, channels), IMAGE))) >= 2


def test_leaves_a_convolution_with_another_reader() -> None:
    graph_module = rewritten(fold_batchnorm, Chain(nn.Conv2d(4, 6, 1), norm(6), both=True), IMAGE)
    assert ops(graph_module) == ["conv2d", "batch_norm"]


def test_leaves_a_norm_after_something_else() -> None:
    assert ops(rewritten(fold_batchnorm, Chain(nn.ReLU(), norm(4)), IMAGE)) == ["relu", "batch_norm"]


def test_convolutions_that_share_a_weight_get_their_own() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    graph_module = rewritten(fold_batchnorm, Chain(conv, norm(4), conv, nn.BatchNorm2d(4)), IMAGE)
    weights = [node.args[1].target for node in graph_module.graph.nodes if node.op == "call_function"]
    assert len(set(weights)) == 2
    assert all(".weight_folded" in str(name) for name in weights)


def test_the_model_keeps_its_weights() -> None:
    net = Chain(nn.Conv2d(4, 6, 1), norm(6))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rewritten(fold_batchnorm, net, IMAGE)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    "net",
    [Chain(nn.Conv2d(4, 6, 1), norm(6), both=True), Chain(nn.ReLU(), norm(4)), Chain(nn.Conv2d(4, 6, 1), nn.ReLU())],
    ids=["another reader", "not after a convolution", "no norm"],
)
def test_what_it_leaves_alone_is_not_touched(net: nn.Module) -> None:
    assert described(rewritten(fold_batchnorm, net, IMAGE)) == described(before(fold_batchnorm, net, IMAGE))
