"""Evaluates calls that do not depend on the image, once, when the model is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.fx.node import Argument

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import add_constant, constant, overload

_RANDOM = ("rand", "bernoulli", "normal", "dropout", "multinomial", "poisson", "uniform")
# overload -> position of the argument of which it reads shape and dtype only; detectors make their anchors with these
_SHAPE_ONLY = {
    "aten.new_full.default": 0,
    "aten.new_ones.default": 0,
    "aten.new_zeros.default": 0,
    "aten.full_like.default": 0,
    "aten.ones_like.default": 0,
    "aten.zeros_like.default": 0,
    "aten.type_as.default": 1,
}


@torch.no_grad()
def fold_constants(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Replaces calls on constants by their results, as buffers or numbers.

    Given:
        a (80,) = arange(80)
        b (80,) = add(a, 0.5)
        y (1, 3, 80, 80) = add(x, b)            # x (1, 3, 80, 80)
    Result:
        b (80,) = get_attr[b]
        y (1, 3, 80, 80) = add(x, b)

    An op that reads only the shape and dtype of a tensor, such as `zeros_like(x)`, is constant for every x.

    Leaves alone: random numbers and what is computed from them; calls that return several tensors, of which the results
    are folded one by one.
    """
    del options
    graph = graph_module.graph
    known: dict[fx.Node, object] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and (value := constant(graph_module, node)) is not None:
            known[node] = value
        elif node.op == "call_function":
            given = known | _stand_ins(node)
            if _is_constant(node, given):
                args, kwargs = _with_values(node, given)
                known[node] = cast(Callable[..., object], node.target)(*args, **kwargs)
    for node in list(graph.nodes):
        if node.op != "call_function" or node not in known:
            continue
        readers = [user for user in node.users if user not in known]
        result = known[node]
        if not readers:
            continue
        if isinstance(result, Tensor):
            replacement: Argument = add_constant(
                graph_module, node, _constant_name(node), result.detach().clone().contiguous()
            )
        elif isinstance(result, (bool, int, float, str)):
            replacement = result
        else:
            continue  # several tensors: the getitems that read them are folded
        for user in readers:
            _replace(user, node, replacement)
    graph.eliminate_dead_code()
    return graph_module


def _with_values(node: fx.Node, given: Mapping[fx.Node, object]) -> tuple[Any, Any]:
    """`(args, kwargs)` of a call, nodes replaced by their values."""
    args, kwargs = fx.map_arg(cast(Any, (node.args, node.kwargs)), lambda source: cast(Any, given[source]))
    return args, kwargs


def _stand_ins(node: fx.Node) -> dict[fx.Node, object]:
    """An uninitialised tensor for an argument of which only shape and dtype are read, by node."""
    position = _SHAPE_ONLY.get(overload(node))
    source = node.args[position] if position is not None and position < len(node.args) else None
    if not isinstance(source, fx.Node):
        return {}
    value = source.meta.get("val")
    if not isinstance(value, Tensor) or not all(isinstance(size, int) for size in value.shape):
        return {}
    return {source: torch.empty(value.shape, dtype=value.dtype)}


def _is_constant(node: fx.Node, known: Mapping[fx.Node, object]) -> bool:
    random = any(word in overload(node) for word in _RANDOM)
    return not random and all(source in known for source in node.all_input_nodes)


def _replace(user: fx.Node, old: fx.Node, new: Argument) -> None:
    user.args = fx.map_arg(user.args, lambda source: new if source is old else source)
    user.kwargs = fx.map_arg(user.kwargs, lambda source: new if source is old else source)


def _constant_name(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return f"{path}.{node.name}" if path else node.name
