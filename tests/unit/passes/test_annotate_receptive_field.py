from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fluxshard.geometry import Grid, ReceptiveField, Window, conv_window
from fluxshard.passes.annotate_receptive_field import annotate_receptive_field
from fluxshard.passes.support.meta import info
from fluxshard.testing import ops
from tests.unit.passes.through import before, rewritten

IMAGE = torch.rand(1, 2, 13, 18, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.rand(2, 2, 3, 3))

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def annotated(function: Callable[[Net, Tensor], object], image: Tensor = IMAGE) -> list[fx.Node]:
    graph_module = rewritten(annotate_receptive_field, Net(function), image)
    return [node for node in graph_module.graph.nodes if node.op in ("placeholder", "call_function")]


def test_the_image_is_the_first_grid() -> None:
    image, _ = annotated(lambda m, x: x + 1)
    assert info(image).grid == Grid(13, 18)
    assert info(image).fields == (ReceptiveField(), ReceptiveField())


@pytest.mark.parametrize(
    ("function", "grid"),
    [
        (lambda m, x: F.conv2d(x, m.weight, stride=2, padding=1), Grid(7, 9, Fraction(2), Fraction(2))),
        (lambda m, x: F.conv2d(x, m.weight, stride=(1, 3), dilation=2), Grid(9, 5, Fraction(1), Fraction(3))),
        (lambda m, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), Grid(7, 10, Fraction(2), Fraction(2))),
        (lambda m, x: F.conv_transpose2d(x, m.weight, stride=2), Grid(27, 37, Fraction(1, 2), Fraction(1, 2))),
        (lambda m, x: F.interpolate(x, scale_factor=3), Grid(39, 54, Fraction(1, 3), Fraction(1, 3))),
        (lambda m, x: F.interpolate(x, size=(26, 27), mode="bilinear"), Grid(26, 27, Fraction(1, 2), Fraction(2, 3))),
        (lambda m, x: x[:, :, 2:, :-1], Grid(11, 17)),
    ],
)
def test_grids_follow_the_algebra_of_ops(function: Callable[[Net, Tensor], object], grid: Grid) -> None:
    assert info(annotated(function)[-1]).grid == grid


def test_windows_and_fields() -> None:
    conv = annotated(lambda m, x: F.conv2d(F.conv2d(x, m.weight, stride=2, padding=1), m.weight, dilation=(1, 2)))[-1]
    assert info(conv).windows == (conv_window(3, 1, 0), conv_window(3, 1, 0, 2))
    y, x = info(conv).fields or (None, None)
    assert y == ReceptiveField(Fraction(7), Fraction(2), Fraction(-1))
    assert x == ReceptiveField(Fraction(11), Fraction(2), Fraction(-1))


def test_joins_unite_fields() -> None:
    add = annotated(lambda m, x: F.conv2d(x, m.weight, padding=1) + x)[-1]
    assert info(add).fields == (ReceptiveField(Fraction(3), Fraction(1), Fraction(-1)),) * 2
    assert info(add).windows == (Window(), Window())


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda m, x: x.softmax(1), "softmax over an axis"),
        (
            lambda m, x: F.conv2d(F.adaptive_avg_pool2d(x, 1), m.weight[:, :, :1, :1]),
            "its input adaptive_avg_pool2d has no grid",
        ),
        (
            lambda m, x: (
                F.conv2d(x, m.weight, padding=1) + F.interpolate(F.conv2d(x, m.weight, stride=2), size=(13, 18))
            ),
            "different grids",
        ),
        (lambda m, x: x * x[:, :1], "an operand of shape [1, 1, 13, 18] is stretched"),
        (lambda m, x: torch.cat([x, x], 2), "does not join channels"),
        (lambda m, x: x[:, ::2], "with steps"),
        (lambda m, x: F.conv2d(x, m.weight * x.mean()), "its weights depend on the image"),
        (lambda m, x: F.interpolate(x, scale_factor=2, mode="bicubic"), "no cell-wise kernel"),
        (lambda m, x: x.double() * 2, "not a float32 map"),
    ],
)
def test_what_runs_whole_has_a_reason(function: Callable[[Net, Tensor], object], reason: str) -> None:
    last = annotated(function)[-1]
    assert reason in info(last).reason
    assert info(last).windows is None and info(last).fields is None


def test_results_of_the_right_size_are_maps_again() -> None:
    nodes = annotated(lambda m, x: (y := x.softmax(1), F.adaptive_avg_pool2d(y, 1), F.conv2d(y, m.weight)))
    by_name = {node.name: info(node).grid for node in nodes}
    assert by_name["softmax"] == Grid(13, 18)
    assert by_name["adaptive_avg_pool2d"] is None
    assert by_name["conv2d"] == Grid(11, 16)


def test_no_node_is_changed() -> None:
    net = Net(lambda m, x: F.conv2d(x, m.weight, stride=2).softmax(1))
    given, found = before(annotate_receptive_field, net, IMAGE), rewritten(annotate_receptive_field, net, IMAGE)
    assert ops(found) == ops(given) == ["conv2d", "softmax"]
    assert [info(node).grid for node in given.graph.nodes] == [None] * len(given.graph.nodes)
