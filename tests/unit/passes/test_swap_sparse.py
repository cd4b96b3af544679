from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fluxshard.ops.reference import REFERENCE
from fluxshard.passes.support.meta import info
from fluxshard.passes.swap_sparse import swap_sparse
from fluxshard.testing import ops
from tests.unit.passes.through import before, rewritten

IMAGE = torch.rand(1, 4, 8, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.last, self.slope = nn.BatchNorm2d(4), nn.LayerNorm(4), nn.PReLU()

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def swapped(function: Callable[[Net, Tensor], object]) -> fx.GraphModule:
    return rewritten(swap_sparse, Net(function), IMAGE)


def test_sparse_calls_are_reference_calls_and_print() -> None:
    graph_module = swapped(lambda m, x: F.avg_pool2d(m.slope(m.norm(m.b(F.relu(m.a(x))) * 2 + x)), 2))
    calls = [node for node in graph_module.graph.nodes if node.op == "call_function"]
    assert all(node.target in REFERENCE.values() for node in calls)
    assert "padding=((1, 1), (1, 1))" in str(graph_module.code).replace(" = ", "=")
    plain = (int, float, str, bool, tuple, type(None), fx.Node)
    assert all(isinstance(value, plain) for node in calls for value in node.kwargs.values())


def test_dense_ops_in_a_row_share_an_island() -> None:
    graph_module = swapped(lambda m, x: m.b(m.a(x).flatten(2).softmax(2).view(1, 4, 8, 6)))
    assert ops(graph_module) == ["conv2d", "island_0", "conv2d"]


def test_dense_ops_that_read_one_dense_result_share_an_island() -> None:
    graph_module = swapped(lambda m, x: [(y := m.a(x).flatten(2)).softmax(2), y.softmax(1)])
    assert [name for name in ops(graph_module) if name.startswith("island")] == ["island_0"]


def test_islands_on_both_sides_of_a_sparse_op_stay_apart() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        first = m.a(x).softmax(1)
        second = m.b(first)
        return (first * second.mean()).softmax(1) + second.softmax(1)

    assert ops(swapped(function)) == ["conv2d", "island_0", "conv2d", "island_1", "island_2", "binary"]


def test_an_island_with_several_results() -> None:
    graph_module = swapped(lambda m, x: list(torch.var_mean(m.a(x), (2, 3), keepdim=True)))
    assert ops(graph_module).count("island_0") == 1


def test_views_of_the_image_read_one_copy() -> None:
    graph_module = swapped(lambda m, x: [m.b(torch.cat([x[:, 2:], x[:, :2]], 1)), m.a(x)])
    assert ops(graph_module).count("copy") == 1
    readers = [
        node
        for node in graph_module.graph.nodes
        if graph_module.graph.find_nodes(op="placeholder")[0] in node.all_input_nodes
    ]
    assert sorted(node.target.__name__ for node in readers) == ["conv2d", "copy"]


def test_channel_norms_in_islands_are_spelled_in_aten() -> None:
    def function(m: Net, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return m.last(pooled.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    assert ops(swapped(function)) == ["island_0"]


def test_constant_outputs_come_from_an_island() -> None:
    assert ops(swapped(lambda m, x: (m.a(x), torch.arange(3)))) in (["conv2d", "island_0"], ["island_0", "conv2d"])


def test_it_decides_nothing() -> None:
    net = Net(lambda m, x: F.max_pool2d(m.a(x), 2).softmax(1))
    given = before(swap_sparse, net, IMAGE)
    for node in given.graph.nodes:
        if node.op == "call_function":
            assert info(node).mode in ("sparse", "dense")
    found = rewritten(swap_sparse, net, IMAGE)
    modes = [info(node).mode for node in found.graph.nodes if node.op in ("call_function", "call_module")]
    assert modes == ["sparse", "sparse", "dense"]


def test_reference_calls_and_constants_stay() -> None:
    net = Net(lambda m, x: F.relu(m.a(x)))  # fused before: a reference call already
    given, found = before(swap_sparse, net, IMAGE), rewritten(swap_sparse, net, IMAGE)
    assert [str(node.format_node()) for node in found.graph.nodes] == [
        str(node.format_node()) for node in given.graph.nodes
    ]
