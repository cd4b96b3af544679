"""Evaluates once what does not depend on the image."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from fluxshard.passes.edit import add_constant, constant, overload

_RANDOM = ("rand", "bernoulli", "normal", "dropout", "multinomial", "poisson", "uniform")


@torch.no_grad()
def fold_constants(graph_module: fx.GraphModule) -> None:
    """Replaces calls on constants by their results.

    Given:  a = arange(80); b = add(a, 0.5); y = add(x, b)
    Result: b = get_attr[b]; y = add(x, b)

    Leaves alone: random numbers; constants that the model returns as they are (they are called outputs, not weights).
    """
    graph = graph_module.graph
    known: dict[fx.Node, object] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and (value := constant(graph_module, node)) is not None:
            known[node] = value
        elif node.op == "call_function" and all(source in known for source in node.all_input_nodes):
            if not any(word in overload(node) for word in _RANDOM):
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: known[source])
                known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    for node in list(graph.nodes):
        if node.op != "call_function" or node not in known:
            continue
        readers = [user for user in node.users if user not in known]
        result = known[node]
        if not readers:
            continue
        if isinstance(result, Tensor):
            replacement: object = add_constant(graph_module, node, _constant_name(node), result.detach().clone().contiguous())
        elif isinstance(result, (bool, int, float, str)):
            replacement = result
        else:
            continue  # several tensors: their getitems are folded
        for user in readers:
            user.args = fx.map_arg(user.args, lambda source, old=node, new=replacement: new if source is old else source)
            user.kwargs = fx.map_arg(user.kwargs, lambda source, old=node, new=replacement: new if source is old else source)
    graph.eliminate_dead_code()


def _constant_name(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return f"{path}.{node.name}" if path else node.name
