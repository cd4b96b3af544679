"""Puts the bodies of autocast and grad modes in place: their blocks are captured as graphs of their own."""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from fluxshard.passes.support.graph_edit import overload

# name -> number of arguments in front of the body
_MODES = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}


def inline_modes(graph_module: fx.GraphModule) -> None:
    """Replaces calls of bodies by the bodies.

    Given:
        w = wrap_with_autocast("cpu", torch.bfloat16, True, None, submod_0, x, weight)
        y (1, 8, 40, 40) = getitem(w, 0)
    Result:
        y (1, 8, 40, 40) = conv2d(x, weight)

    What ran in another type under autocast is computed in float32, and its shapes and types are found anew.

    Leaves alone: other ops of higher order.
    """
    casts = False
    while calls := [node for node in graph_module.graph.nodes if higher_order(node) in _MODES]:
        for node in calls:
            casts |= higher_order(node) == "wrap_with_autocast" and node.args[2] is not False
            _inline(graph_module, node, _MODES[higher_order(node)])
    if casts:
        _propagate(graph_module)


def higher_order(node: fx.Node) -> str:
    """Name of the op of higher order that a node calls; empty for all others."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.HigherOrderOperator):
        return ""
    return str(node.target.name())


def _inline(root: fx.GraphModule, node: fx.Node, position: int) -> None:
    body = node.args[position]
    assert isinstance(body, fx.Node) and body.op == "get_attr"
    inner = root.get_submodule(str(body.target))
    assert isinstance(inner, fx.GraphModule)
    given = iter(node.args[position + 1 :])
    copies: dict[fx.Node, Any] = {}
    result: Any = None
    for part in inner.graph.nodes:
        if part.op == "placeholder":
            copies[part] = next(given)
        elif part.op == "output":
            result = fx.map_arg(part.args[0], lambda source: copies[source])
        else:
            with root.graph.inserting_before(node):
                copies[part] = root.graph.node_copy(part, lambda source: copies[source])
            if part.op == "get_attr":
                copies[part].target = f"{body.target}.{part.target}"
    results = result if isinstance(result, (list, tuple)) else [result]
    for user in list(node.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[cast(int, user.args[1])])
            root.graph.erase_node(user)
    if node.users:
        node.replace_all_uses_with(results[0])
    root.graph.erase_node(node)
    if not body.users:
        root.graph.erase_node(body)


def _propagate(graph_module: fx.GraphModule) -> None:
    """Shapes and types of all values, found by running the graph without numbers."""
    for node in list(graph_module.graph.nodes):
        if overload(node) == "aten._assert_tensor_metadata.default":
            graph_module.graph.erase_node(node)
    graph_module.recompile()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    images = [node.meta["val"] for node in graph_module.graph.nodes if node.op == "placeholder"]
    with torch.no_grad():
        fresh = [
            mode.from_tensor(torch.empty(tuple(one.shape), dtype=one.dtype))
            for one in images
            if isinstance(one, Tensor)
        ]
        FakeTensorProp(graph_module, mode).propagate_dont_convert_inputs(*fresh)
