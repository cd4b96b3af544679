from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fluxshard.passes.fuse_padding import fuse_padding
from fluxshard.testing import assert_pass_preserves, ops
from tests.unit.passes.through import before, described, rewritten, through

IMAGE = torch.linspace(-2, 2, 4 * 6 * 6).reshape(1, 4, 6, 6)


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def fused(function: Callable[[Net, Tensor], object]) -> fx.GraphModule:
    return rewritten(fuse_padding, Net(function), IMAGE)


def paddings(graph_module: fx.GraphModule) -> list[object]:
    return [node.kwargs["padding"] for node in graph_module.graph.nodes if "padding" in node.kwargs]


def test_padding_goes_into_the_convolution() -> None:
    graph_module = fused(lambda m, x: m.b(F.pad(x, (0, 1, 2, 0))))
    assert ops(graph_module) == ["conv2d"]
    assert paddings(graph_module) == [((2, 0), (0, 1))]


def test_it_is_added_to_the_convolutions_own() -> None:
    assert paddings(fused(lambda m, x: m.a(F.pad(x, (0, 1, 2, 0))))) == [((3, 1), (1, 2))]


def test_all_convolutions_that_read_it_take_it() -> None:
    graph_module = fused(lambda m, x: [y := F.pad(x, (1, 1)), m.a(y), m.b(y)][1:])
    assert ops(graph_module) == ["conv2d", "conv2d"]
    assert paddings(graph_module) == [((1, 1), (2, 2)), ((0, 0), (1, 1))]


def test_of_two_paddings_in_a_row_the_last_goes_in() -> None:
    net = Net(lambda m, x: m.b(F.pad(F.pad(x, (1, 0)), (0, 0, 2, 0))))
    graph_module = assert_pass_preserves(through(fuse_padding), net, IMAGE, idempotent=False)
    assert ops(graph_module) == ["pad", "conv2d"]
    assert paddings(graph_module) == [((2, 0), (0, 0))]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.a(F.pad(x, (0, 1, 0, 1), value=1.0)),
        lambda m, x: m.a(F.pad(x, (0, 1, 0, 1), mode="replicate")),
        lambda m, x: m.a(F.pad(x, (0, -1, 0, 1))),
        lambda m, x: [y := F.pad(x, (0, 1, 0, 1)), m.a(y)],
        lambda m, x: m.up(F.pad(x, (0, 1, 0, 1))),
        lambda m, x: F.relu(F.pad(x, (0, 1, 0, 1))),
    ],
    ids=["not zero", "replicate", "crop", "another reader", "transposed convolution", "no convolution"],
)
def test_leaves_alone(function: Callable[[Net, Tensor], object]) -> None:
    assert described(fused(function)) == described(before(fuse_padding, Net(function), IMAGE))
