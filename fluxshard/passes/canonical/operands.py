"""Constant operands of sums and products: numbers where they are one, vectors over channels where they are that."""

from __future__ import annotations

from torch import fx

from fluxshard.passes.support.graph_edit import add_constant, constant, overload
from fluxshard.passes.support.meta import is_map, shape

_ARITHMETIC = frozenset({"aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor"})

_COMMUTATIVE = frozenset({"aten.add.Tensor", "aten.mul.Tensor"})


def normalise_operands(graph_module: fx.GraphModule) -> None:
    """Writes constant operands of feature maps as numbers or `(1, C, 1, 1)` tensors, second in sums and products.

    Given:  y = mul(x, gamma); z = add(y, one)         gamma (C, 1, 1), one ()
    Result: y = mul(x, gamma_1); z = add(y, 1.0)       gamma_1 (1, C, 1, 1)

    Leaves alone: constants that vary over positions.
    """
    for node in list(graph_module.graph.nodes):
        if overload(node) not in _ARITHMETIC or not is_map(node):
            continue
        for position in (0, 1):
            source = node.args[position]
            value = constant(graph_module, source)
            if (
                value is None
                or not isinstance(source, fx.Node)
                or constant(graph_module, node.args[1 - position]) is not None
            ):
                continue
            channels = shape(node)[1]
            if value.numel() == 1:
                node.update_arg(position, float(value))
            elif tuple(value.shape) in ((channels, 1, 1), (1, channels, 1, 1)) and value.dim() != 4:
                name = f"{source.target}_vector"
                node.update_arg(position, add_constant(graph_module, node, name, value.reshape(1, channels, 1, 1)))
        if overload(node) in _COMMUTATIVE and _is_constant(node.args[0]) and not node.kwargs:
            node.args = (node.args[1], node.args[0])  # only where the order says nothing
    graph_module.graph.eliminate_dead_code()


def _is_constant(argument: object) -> bool:
    return isinstance(argument, (int, float)) or (isinstance(argument, fx.Node) and argument.op == "get_attr")
