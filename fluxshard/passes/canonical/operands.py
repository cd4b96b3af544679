"""Writes constant operands of arithmetic as numbers or as vectors over channels."""

from __future__ import annotations

from torch import fx

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import add_constant, constant, overload
from fluxshard.passes.support.meta import is_map, shape

_ARITHMETIC = frozenset({"aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor"})

_COMMUTATIVE = frozenset({"aten.add.Tensor", "aten.mul.Tensor"})


def normalise_operands(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Writes constant operands of maps as numbers or `(1, C, 1, 1)` tensors, in second place where order is free.

    Given:
        y (1, 16, 40, 40) = mul(gamma, x)                       # x (1, 16, 40, 40), gamma (16, 1, 1)
        z (1, 16, 40, 40) = add(y, one)                         # one (1,), holds 1.0
    Result:
        y (1, 16, 40, 40) = mul(x, gamma_vector)                # gamma_vector (1, 16, 1, 1)
        z (1, 16, 40, 40) = add(y, 1.0)

    Leaves alone: constants that vary over positions; the order of differences and quotients; arithmetic of two
    constants or of what is not a `(1, C, H, W)` float32 map.
    """
    del options
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
            node.args = (node.args[1], node.args[0])
    graph_module.graph.eliminate_dead_code()
    return graph_module


def _is_constant(argument: object) -> bool:
    return isinstance(argument, (int, float)) or (isinstance(argument, fx.Node) and argument.op == "get_attr")
