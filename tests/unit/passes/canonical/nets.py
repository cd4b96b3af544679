"""A network for each case: one function, and constants to call it with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from fluxshard.passes import Pass
from fluxshard.testing import ops
from tests.unit.passes.through import before, described, rewritten

IMAGE = torch.linspace(-4, 4, 4 * 6 * 8).reshape(1, 4, 6, 8)


class Net(nn.Module):
    """Calls one function on the image."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.rand(6, 4, 3, 3, generator=generator) - 0.5)
        self.even = nn.Parameter(torch.rand(6, 4, 2, 4, generator=generator) - 0.5)
        self.bias = nn.Parameter(torch.rand(6, generator=generator))
        self.vector = nn.Parameter(torch.rand(4, 1, 1, generator=generator) + 0.5)
        self.one = nn.Parameter(torch.tensor([1.5]))
        self.gamma = nn.Parameter(torch.rand(4, generator=generator))
        self.positions = nn.Parameter(torch.rand(4, 6, 8, generator=generator) + 0.5)
        self.norm, self.linear, self.back = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


Function = Callable[[Net, Tensor], object]


def calls_after(last: Pass, function: Function, run: int = 1) -> list[str]:
    """Ops of the graph after a pass of the pipeline."""
    return ops(rewritten(last, Net(function), IMAGE, run))


def nodes_after(last: Pass, function: Function, run: int = 1) -> list[fx.Node]:
    """Calls of the graph after a pass of the pipeline."""
    graph_module = rewritten(last, Net(function), IMAGE, run)
    return [node for node in graph_module.graph.nodes if node.op == "call_function"]


def assert_left_alone(last: Pass, function: Function, run: int = 1) -> None:
    """Checks that a pass changes no node."""
    given = before(last, Net(function), IMAGE, run)
    assert described(rewritten(last, Net(function), IMAGE, run)) == described(given)
