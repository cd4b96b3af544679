"""Folds constant scales and shifts of channels into the convolution in front of them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import add_constant, argument, constant, insert, only_user, overload, swap
from fluxshard.passes.support.meta import shape

_CONVOLUTIONS = frozenset({"aten.conv2d.default", "aten.conv_transpose2d.input"})
_ARITHMETIC = frozenset({"aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor"})


def fold_batchnorm(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Folds batch norms, and arithmetic with a number or a constant per channel, into convolutions.

    Given:
        c (1, 16, 40, 40) = conv2d(x, w, b)                     # x (1, 3, 40, 40), w (16, 3, 1, 1), b (16,)
        n (1, 16, 40, 40) = batch_norm(c, gamma, beta, mean, var, False, 0.1, 1e-05, True)      # all (16,)
        y (1, 16, 40, 40) = mul(n, layer_scale)                 # layer_scale (1, 16, 1, 1)
    Result:
        y (1, 16, 40, 40) = conv2d(x, w_folded, b_folded)       # w_folded (16, 3, 1, 1), b_folded (16,)

    Products are computed in float64 and rounded to the weight's dtype once per fold.

    Leaves alone: convolutions with several readers (the batch norm becomes an affine layer); weights that are not
    constant; batch norms in training mode; constants that vary over positions or stretch the result.
    """
    del options
    for node in list(graph_module.graph.nodes):
        found = scale_and_shift(graph_module, node)
        if found is None:
            continue
        conv = node.args[0]
        if isinstance(conv, fx.Node) and overload(conv) in _CONVOLUTIONS and only_user(conv) is not None:
            _fold(graph_module, conv, node, *found)
    return graph_module


def scale_and_shift(root: fx.GraphModule, node: fx.Node) -> tuple[Tensor, Tensor] | None:
    """`(scale, shift)` of a call that computes `x * scale + shift` per channel, each `(C,)` float64; otherwise None."""
    if overload(node) in _ARITHMETIC:
        return _arithmetic(root, node)
    if overload(node) != "aten.batch_norm.default":
        return None
    _, gamma, beta, mean, var, training, _, eps, _ = node.args
    if training:
        return None
    mean_value, var_value = constant(root, mean), constant(root, var)
    gamma_value, beta_value = constant(root, gamma), constant(root, beta)
    if mean_value is None or var_value is None or (gamma is not None and gamma_value is None):
        return None
    if beta is not None and beta_value is None:
        return None
    scale = (var_value.double() + cast(float, eps)).rsqrt()
    if gamma_value is not None:
        scale = scale * gamma_value.double()
    shift = -mean_value.double() * scale
    return scale, shift if beta_value is None else shift + beta_value.double()


def _arithmetic(root: fx.GraphModule, node: fx.Node) -> tuple[Tensor, Tensor] | None:
    x, by = node.args[0], node.args[1]
    if node.kwargs or len(node.args) != 2 or not isinstance(x, fx.Node) or shape(x) != shape(node):
        return None
    value = torch.tensor(float(by)) if isinstance(by, (int, float)) else constant(root, by)
    channels = shape(node)[1] if len(shape(node)) == 4 else 0
    if value is None or tuple(value.shape) not in ((), (1, channels, 1, 1)):
        return None
    vector = value.double().flatten().expand(channels)
    zeros = torch.zeros_like(vector)
    ones = zeros + 1
    return {
        "aten.mul.Tensor": (vector, zeros),
        "aten.div.Tensor": (1 / vector, zeros),
        "aten.add.Tensor": (ones, vector),
        "aten.sub.Tensor": (ones, -vector),
    }[overload(node)]


def _fold(root: fx.GraphModule, conv: fx.Node, node: fx.Node, scale: Tensor, shift: Tensor) -> None:
    weight_node, bias_node = cast(fx.Node, conv.args[1]), argument(conv, 2, "bias")
    weight, bias = constant(root, weight_node), constant(root, bias_node)
    if weight is None or (bias_node is not None and bias is None):
        return
    if overload(conv) == "aten.conv_transpose2d.input":
        groups = int(argument(conv, 6, "groups", 1))
        per_group = scale.view(groups, 1, -1).expand(groups, weight.shape[0] // groups, weight.shape[1])
        factors = per_group.reshape(weight.shape[0], weight.shape[1], 1, 1)
    else:
        factors = scale.view(-1, 1, 1, 1)
    # products in float64, rounded on writing: there is no float64 copy of the weight
    folded = torch.mul(weight, factors, out=torch.empty_like(weight, memory_format=torch.contiguous_format))
    folded_bias = shift if bias is None else bias.double() * scale + shift
    target, kind = str(weight_node.target), weight.dtype
    bias_name = f"{target.rpartition('.')[0]}.bias_folded".lstrip(".")
    new_weight = add_constant(root, node, f"{target}_folded", folded)
    new_bias = add_constant(root, node, bias_name, folded_bias.to(kind))
    args = (conv.args[0], new_weight, new_bias, *conv.args[3:])
    kwargs = {key: value for key, value in conv.kwargs.items() if key not in ("weight", "bias")}
    fused = insert(node, cast(torch._ops.OpOverload, conv.target), args, kwargs, like=conv)
    swap(node, fused)
    root.graph.erase_node(conv)
