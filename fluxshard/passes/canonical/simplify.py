"""Removes calls that return their input unchanged."""

from __future__ import annotations

from typing import cast

from torch import fx

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import argument, overload, swap
from fluxshard.passes.support.meta import is_tensor, shape

# Identities in inference, whatever their arguments.
_ALWAYS = frozenset({
    "aten.alias.default", "aten.detach.default", "aten.clone.default", "aten.contiguous.default",
    "aten.lift_fresh.default", "aten.lift_fresh_copy.default", "aten.positive.default",
})  # fmt: skip
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
    Result:
        y (1, 16, 40, 40) = relu(x)

    Checks of dtype and device that capture adds in front of casts go, too.

    Leaves alone: views, casts, slices and pads that change shape or dtype; dropout in training mode; a clone or alias
    of a constant that the model returns, since outputs are never the model's own tensors.
    """
    del options
    for node in list(graph_module.graph.nodes):
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
