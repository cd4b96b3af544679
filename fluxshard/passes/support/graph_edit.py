"""Edits of an fx graph that keep shapes, module paths and constants consistent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import Argument

from fluxshard.passes.support.meta import is_tensor


def overload(node: object) -> str:
    """Name of the ATen overload that a node calls, such as `aten.relu.default`; empty for anything else."""
    if isinstance(node, fx.Node) and node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
        return str(node.target)
    return ""


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, positional or by keyword.

    Args:
      node: the call.
      position: of the argument.
      name: of the argument.
      default: what the call takes where the argument is left out.
    """
    if position < len(node.args):
        return node.args[position]
    return node.kwargs.get(name, default)


def insert(
    before: fx.Node,
    target: Callable[..., Any],
    args: Sequence[Argument],
    kwargs: dict[str, Argument] | None = None,
    *,
    like: fx.Node,
    shape: Sequence[int] | None = None,
) -> fx.Node:
    """Inserts a call before a node.

    Args:
      before: where to insert.
      target: the function or overload to call.
      args: positional arguments.
      kwargs: keyword arguments.
      like: gives module path, stack trace and the value's shape and dtype.
      shape: shape of the result where it differs from that of `like`.
    """
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, tuple(args), kwargs or {})
    node.meta = {key: value for key, value in like.meta.items() if key in ("nn_module_stack", "stack_trace", "val")}
    if shape is not None:
        node.meta["val"] = like.meta["val"].new_empty(tuple(shape))
    return node


def swap(node: fx.Node, replacement: fx.Node) -> None:
    """Replaces all uses of a node by another node, and erases it."""
    node.replace_all_uses_with(replacement)
    node.graph.erase_node(node)


def constant(root: fx.GraphModule, node: object) -> Tensor | None:
    """The tensor that a `get_attr` node reads; None for anything else."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    owner: Any = root
    for part in str(node.target).split("."):
        owner = getattr(owner, part)
    return owner.detach() if isinstance(owner, Tensor) else None


def add_constant(root: fx.GraphModule, before: fx.Node, name: str, value: Tensor) -> fx.Node:
    """Registers a tensor as a buffer and inserts a `get_attr` of it.

    Args:
      root: the module that owns the graph.
      before: where to insert.
      name: dotted path of the buffer; numbered where it is taken.
      value: the tensor.
    """
    *path, leaf = name.split(".")
    owner: nn.Module = root
    for part in path:
        if not isinstance(owner._modules.get(part), nn.Module):
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    free, count = leaf, 0
    while hasattr(owner, free):
        count += 1
        free = f"{leaf}_{count}"
    owner.register_buffer(free, value)
    with before.graph.inserting_before(before):
        node = before.graph.get_attr(".".join([*path, free]))
    node.meta = {"val": value.to("meta")}
    return node


def only_user(node: fx.Node) -> fx.Node | None:
    """The only user of a node, where it has one that reads it once; otherwise None."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    reads = sum(source is node for source in _flat_inputs(user))
    return user if reads == 1 else None


def _flat_inputs(node: fx.Node) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), found.append)
    return found


def tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """Inputs of a node that are tensors, constants included, in order."""
    return [source for source in node.all_input_nodes if is_tensor(source)]
