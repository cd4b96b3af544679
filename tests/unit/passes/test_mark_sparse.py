from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluxshard.ir.params import Binary, Resize, UpsampleNearest
from fluxshard.passes.mark_sparse import mark_sparse
from fluxshard.passes.support.meta import info
from fluxshard.testing import ops
from tests.unit.passes.through import before, rewritten

IMAGE = torch.rand(1, 4, 8, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.vector = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def marked(function: Callable[[Net, Tensor], object]) -> dict[str, object]:
    graph_module = rewritten(mark_sparse, Net(function), IMAGE)
    return {node.name: info(node) for node in graph_module.graph.nodes}


def modes(function: Callable[[Net, Tensor], object]) -> list[str]:
    return [found.mode for found in marked(function).values() if found.mode]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: m.conv(x), ["sparse"]),
        (
            lambda m, x: m.conv(m.conv(x)[:, 1:].repeat(1, 2, 1, 1)[:, :4]),
            ["sparse", "view", "dense", "view", "sparse"],
        ),
        (lambda m, x: torch.cat([m.conv(x), m.conv(x)], 1), ["sparse", "sparse", "view"]),
        (lambda m, x: F.interpolate(m.conv(x), scale_factor=2), ["sparse", "view"]),
        (lambda m, x: m.conv(x).flatten(2).softmax(2), ["sparse", "dense", "dense"]),
        (lambda m, x: m.conv(x) * F.adaptive_avg_pool2d(x, 1), ["sparse", "dense", "sparse"]),
    ],
)
def test_modes(function: Callable[[Net, Tensor], object], expected: list[str]) -> None:
    assert modes(function) == expected


@pytest.mark.parametrize(
    ("function", "operand"),
    [
        (lambda m, x: x + F.max_pool2d(x, 3, 1, 1), "value"),
        (lambda m, x: x.mean((2, 3), keepdim=True) * x, "vector"),
        (lambda m, x: x * x.mean((1, 2, 3), keepdim=True), "vector"),
        (lambda m, x: m.vector - x, "weight"),
        (lambda m, x: 2 - x, "scalar"),
        (lambda m, x: x / 2, "scalar"),
    ],
)
def test_operands(function: Callable[[Net, Tensor], object], operand: str) -> None:
    found = list(marked(function).values())[-2].params  # type: ignore[attr-defined]
    assert isinstance(found, Binary) and found.operand == operand


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"scale_factor": 2}, UpsampleNearest),
        ({"size": (24, 12)}, UpsampleNearest),
        ({"size": (12, 9)}, Resize),
        ({"scale_factor": 1.5}, Resize),
        ({"scale_factor": 2, "mode": "bilinear"}, Resize),
        ({"size": (16, 12), "mode": "bilinear", "align_corners": True}, Resize),
    ],
)
def test_resampling(options: dict[str, object], kind: type) -> None:
    found = list(marked(lambda m, x: F.interpolate(m.conv(x), **options)).values())  # type: ignore[arg-type]
    assert isinstance(found[-2].params, kind)  # type: ignore[attr-defined]


def test_views_of_the_image_ask_for_a_copy() -> None:
    assert marked(lambda m, x: m.conv(torch.cat([x[:, :2], x[:, 2:]], 1)))["x"].copied  # type: ignore[attr-defined]
    assert not marked(lambda m, x: m.conv(x))["x"].copied  # type: ignore[attr-defined]


def test_no_node_is_changed() -> None:
    net = Net(lambda m, x: m.conv(x)[:, 1:].flatten(2).softmax(2))
    assert ops(rewritten(mark_sparse, net, IMAGE)) == ops(before(mark_sparse, net, IMAGE))


def test_only_calls_have_a_mode() -> None:
    graph_module = rewritten(mark_sparse, Net(lambda m, x: m.conv(x) + m.vector), IMAGE)
    assert {node.op for node in graph_module.graph.nodes if info(node).mode} == {"call_function"}
