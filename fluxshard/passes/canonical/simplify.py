"""Removes calls that return their input unchanged."""

from __future__ import annotations

from typing import cast

import torch
from torch import fx

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import add_constant, argument, insert, overload, swap
from fluxshard.passes.support.meta import is_tensor, shape

aten = torch.ops.aten

# Identities in inference, whatever their arguments: what reads them is written so that it takes any order in memory.
_ALWAYS = frozenset({
    "aten.alias.default", "aten.detach.default", "aten.clone.default", "aten.contiguous.default",
    "aten.lift_fresh.default", "aten.lift_fresh_copy.default", "aten.positive.default",
})  # fmt: skip
# A view of a tensor whose order in memory differs from that of its axes fails; the same reshape copies.
_VIEWS = frozenset({"aten.view.default", "aten._unsafe_view.default"})
# Read numbers as they lie in memory: their input is put in order first.
_READS_MEMORY = frozenset({"aten.view.dtype", "aten.view_as_complex.default"})
_COPIES = frozenset({"aten.clone.default", "aten.contiguous.default"})
# Identities where their argument `train` is False.
_DROPOUTS = frozenset({
    "aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default",
    "aten.feature_alpha_dropout.default",
})  # fmt: skip
# Identities where the result has the input's shape and dtype.
_SAME_SHAPE = frozenset({
    "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.flatten.using_ints",
    "aten.expand.default", "aten.expand_as.default", "aten.view_as.default", "aten.repeat.default",
    "aten.to.dtype", "aten.to.device", "aten.to.dtype_layout", "aten.to.other", "aten._to_copy.default",
    "aten.type_as.default", "aten.float.default", "aten.slice.Tensor", "aten.narrow.default",
    "aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze.default",
})  # fmt: skip


def drop_identities(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Removes identities: the users of one read its input.

    Given:
        d (1, 16, 40, 40) = dropout(x, 0.5, False)              # x (1, 16, 40, 40)
        v (1, 16, 40, 40) = view(d, [1, 16, 40, 40])
        p (1, 16, 40, 40) = permute(v, [0, 1, 2, 3])
        y (1, 16, 40, 40) = relu(p)
        c (1, 40, 16, 40) = contiguous(transpose(y, 1, 2))
        w (1, 640, 40) = view(c, [1, 640, 40])
    Result:
        y (1, 16, 40, 40) = relu(x)
        t (1, 40, 16, 40) = transpose(y, 1, 2)
        w (1, 640, 40) = reshape(t, [1, 640, 40])

    Where copies go, views become reshapes: a view may have needed one. Reads of memory by strides (`as_strided`)
    become reads of elements. Checks of dtype and device that capture adds in front of casts go, too.

    Leaves alone: views, casts, slices and pads that change shape or dtype; dropout in training mode; a clone or alias
    of a constant that the model returns, since outputs are never the model's own tensors; copies in front of ops that
    read numbers as they lie in memory, which get one where they have none.
    """
    del options
    copies = any(overload(node) in _COPIES for node in graph_module.graph.nodes)
    for node in list(graph_module.graph.nodes):  # before copies go, on which strides depend
        if overload(node) == "aten.as_strided.default":
            swap(node, _picked(graph_module, node))
    for node in list(graph_module.graph.nodes):
        if copies and overload(node) in _VIEWS:
            node.target = aten.reshape.default
        if overload(node) in _READS_MEMORY and overload(node.args[0]) not in _COPIES:
            node.replace_input_with(
                node.args[0], insert(node, aten.contiguous.default, node.args[:1], like=node.args[0])
            )
        if _is_identity(node):
            swap(node, node.args[0])
        elif overload(node) == "aten._assert_tensor_metadata.default":
            graph_module.graph.erase_node(node)
    return graph_module


def _is_identity(node: fx.Node) -> bool:
    name = overload(node)
    if not name or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    source = node.args[0]
    if name in _ALWAYS:
        # outputs must not be the model's own constants
        if name in _COPIES and any(overload(user) in _READS_MEMORY for user in node.users):
            return False
        return source.op != "get_attr" or all(user.op != "output" for user in node.users)
    if name in _DROPOUTS:
        return argument(node, 2, "train") is False
    if name == "aten.permute.default":
        order = [int(axis) % len(shape(source)) for axis in cast(list[int], node.args[1])]
        return order == sorted(order)
    if not is_tensor(node) or not is_tensor(source):
        return False
    same = shape(node) == shape(source) and node.meta["val"].dtype == source.meta["val"].dtype
    if name in ("aten.pad.default", "aten.constant_pad_nd.default"):
        return same and not any(node.args[1])  # type: ignore[arg-type]
    return name in _SAME_SHAPE and same


def _picked(root: fx.GraphModule, node: fx.Node) -> fx.Node:
    """What `as_strided` reads, by the numbers of the elements: these do not depend on the order in memory."""
    source = cast(fx.Node, node.args[0])
    value = source.meta["val"]
    numbers = torch.empty_strided(value.shape, value.stride(), dtype=torch.int64)
    numbers.copy_(torch.arange(value.numel()).reshape(value.shape))
    size, stride = cast(list[int], node.args[1]), cast(list[int], node.args[2])
    picked = numbers.as_strided(size, stride, cast(int, argument(node, 3, "storage_offset") or 0))
    index = add_constant(root, node, f"{node.name}_index", picked.reshape(-1).clone())
    flat = insert(node, aten.reshape.default, (source, [-1]), like=source, shape=(value.numel(),))
    read = insert(node, aten.index_select.default, (flat, 0, index), like=node, shape=(picked.numel(),))
    return insert(node, aten.reshape.default, (read, list(size)), like=node)
