"""Moves permutes to channels-last behind the ops that work on the channels of one cell."""

from __future__ import annotations

from typing import cast

import torch
from torch import fx

from fluxshard.ops.reference import REFERENCE
from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import add_constant, argument, constant, insert, overload, swap
from fluxshard.passes.support.meta import is_map, shape
from fluxshard.passes.support.params_of import activation

aten = torch.ops.aten
_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # NCHW -> NHWC, NHWC -> NCHW
_ARITHMETIC = frozenset({"aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor"})


def move_permutes(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Computes per-cell ops on the NCHW map in front of a permute to NHWC; a permute that meets its inverse vanishes.

    Given:
        a (1, 40, 40, 16) = permute(x, [0, 2, 3, 1])            # x (1, 16, 40, 40)
        b (1, 40, 40, 16) = layer_norm(a, [16], gamma, beta)
        c (1, 40, 40, 64) = linear(b, w)                        # w (64, 16)
        y (1, 64, 40, 40) = permute(c, [0, 3, 1, 2])
    Result:
        b (1, 16, 40, 40) = channel_norm(x, gamma, beta)
        y (1, 64, 40, 40) = conv2d(b, w_1x1)                    # w_1x1 (64, 16, 1, 1)

    Leaves alone: ops that mix positions, arithmetic with an operand that is neither permuted nor constant per channel,
    and other permutations.
    """
    del options
    for node in list(graph_module.graph.nodes):
        if _order(node) == _FIRST:
            inner = node.args[0]
            if _order(inner) == _LAST:
                swap(node, cast(fx.Node, cast(fx.Node, inner).args[0]))
            continue
        moved = _moved(graph_module, node)
        if moved is not None:
            swap(node, insert(node, aten.permute.default, (moved, list(_LAST)), like=node))
    graph_module.graph.eliminate_dead_code()
    return graph_module


def _order(node: object) -> list[int] | None:
    if not isinstance(node, fx.Node) or overload(node) != "aten.permute.default" or len(shape(node)) != 4:
        return None
    return [int(axis) % 4 for axis in cast(list[int], node.args[1])]


def _before(node: object) -> fx.Node | None:
    """The NCHW map of which a node is the NHWC permutation; None where it is anything else."""
    if not isinstance(node, fx.Node) or _order(node) != _LAST:
        return None
    source = cast(fx.Node, node.args[0])
    return source if is_map(source) else None


def _moved(root: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    name = overload(node)
    if not name or not node.args or not is_map(node) or name == "aten.permute.default":
        return None
    x = _before(node.args[0])
    batch, height, width, channels = shape(node)
    after = (batch, channels, height, width)
    if name in _ARITHMETIC and len(node.args) == 2 and not node.kwargs:
        operands = [_operand(root, node, position) for position in (0, 1)]
        if (x is None and _before(node.args[1]) is None) or None in operands:
            return None
        return insert(node, cast(torch._ops.OpOverload, node.target), operands, like=node, shape=after)
    if x is None:
        return None
    if name == "aten.linear.default":
        weight = constant(root, node.args[1])
        bias = argument(node, 2, "bias")
        if weight is None or (bias is not None and constant(root, bias) is None):
            return None
        kernel = add_constant(root, node, f"{cast(fx.Node, node.args[1]).target}_1x1", weight[:, :, None, None])
        return insert(node, aten.conv2d.default, (x, kernel, bias), like=node, shape=after)
    if name == "aten.layer_norm.default":
        _, sizes, gamma, beta, eps = node.args
        constants = all(part is None or constant(root, part) is not None for part in (gamma, beta))
        if list(cast(list[int], sizes)) != [channels] or not constants:
            return None
        return insert(
            node, REFERENCE["channel_norm"], (x, gamma, beta), {"eps": cast(float, eps)}, like=node, shape=after
        )
    if not isinstance(activation(node), str) and name != "aten.prelu.default":
        return insert(
            node,
            cast(torch._ops.OpOverload, node.target),
            (x, *node.args[1:]),
            dict(node.kwargs),
            like=node,
            shape=after,
        )
    return None


def _operand(root: fx.GraphModule, node: fx.Node, position: int) -> fx.Node | float | None:
    source = node.args[position]
    if isinstance(source, (int, float)):
        return source
    before = _before(source)
    if before is not None:
        return before
    value = constant(root, source)
    if value is None:
        return None
    channels = shape(node)[3]
    if value.numel() == 1:
        return float(value)
    if tuple(value.shape) not in ((channels,), (1, 1, channels), (1, 1, 1, channels)):
        return None
    return add_constant(root, node, f"{cast(fx.Node, source).target}_vector", value.reshape(1, channels, 1, 1))
