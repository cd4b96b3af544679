"""Rewrites variants of an op as the one overload that `ops/table.py` knows, whatever exporter wrote them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import argument, insert, overload, swap
from fluxshard.passes.support.meta import is_map, shape
from fluxshard.passes.support.params_of import pair

aten = torch.ops.aten


def unify_op_variants(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Gives every op one overload and one form of its arguments.

    Given:
        a, b (1, 8, 40, 40) = chunk(x, 2, 1)                    # x (1, 16, 40, 40)
        y (1, 8, 40, 40) = hardtanh(a, 0, 6)
        z (1, 32, 20, 20) = convolution(b, w, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1)    # w (32, 8, 3, 3)
        c (1, 32, 18, 20) = slice(z, 2, 1, -1)
    Result:
        a (1, 8, 40, 40) = slice(x, 1, 0, 8)
        y (1, 8, 40, 40) = relu6(a)
        b (1, 8, 40, 40) = slice(x, 1, 8, 16)
        z (1, 32, 20, 20) = conv2d(b, w, None, [2, 2], [1, 1], [1, 1], 1)
        c (1, 32, 18, 20) = pad(z, [0, 0, -1, -1])

    Leaves alone: variants whose arguments the overload cannot express: batch norms in training mode, `rsub` with a
    factor, clamps to tensors, slices of channels with steps, adaptive pooling by a factor that is not whole or to one
    cell.
    """
    del options
    for node in list(graph_module.graph.nodes):
        rule = _RULES.get(overload(node)) or (_getitem if node.target is operator.getitem else None)
        replacement = rule(node) if rule is not None else None
        if replacement is not None:
            swap(node, replacement)
    graph_module.graph.eliminate_dead_code()
    return graph_module


def _call(node: fx.Node, target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
    return insert(node, target, args, kwargs, like=node)


def _renamed(target: Callable[..., Any]) -> Callable[[fx.Node], fx.Node | None]:
    return lambda node: _call(node, target, *node.args, **node.kwargs)


def _getitem(node: fx.Node) -> fx.Node | None:
    source, index = node.args
    assert isinstance(source, fx.Node) and isinstance(index, int)
    name = overload(source)
    if name in ("aten._native_batch_norm_legit_no_training.default", "aten.native_batch_norm.default") and index == 0:
        return _native_batch_norm(node, source)
    if name == "aten._native_batch_norm_legit.default" and index == 0:
        return _native_batch_norm(node, source) if source.args[5] is False else None
    if name == "aten.native_layer_norm.default" and index == 0:
        x, sizes, weight, bias, eps = source.args
        return _call(node, aten.layer_norm.default, x, sizes, weight, bias, eps)
    if name == "aten.max_pool2d_with_indices.default" and index == 0:
        return _call(node, aten.max_pool2d.default, *source.args, **source.kwargs)
    if name in _SPLITS:
        return _split(node, source, index)
    return None


_SPLITS = frozenset(
    {
        "aten.split.Tensor",
        "aten.split_with_sizes.default",
        "aten.chunk.default",
        "aten.tensor_split.sections",
        "aten.split.sizes",
    }
)


def _split(node: fx.Node, source: fx.Node, index: int) -> fx.Node | None:
    whole = source.args[0]
    assert isinstance(whole, fx.Node)
    axis = int(argument(source, 2, "dim", 0)) % len(shape(whole))
    parts = [int(part.shape[axis]) for part in source.meta["val"]]
    start = sum(parts[: index % len(parts)])
    return _call(node, aten.slice.Tensor, whole, axis, start, start + shape(node)[axis])


def _native_batch_norm(node: fx.Node, source: fx.Node) -> fx.Node | None:
    x, weight, bias, mean, var, *rest = source.args
    training, momentum, eps = rest if len(rest) == 3 else (False, *rest)
    return (
        None
        if training
        else _call(node, aten.batch_norm.default, x, weight, bias, mean, var, False, momentum, eps, False)
    )


def _conv2d_padding(node: fx.Node) -> fx.Node | None:
    x, weight = node.args[0], node.args[1]
    assert isinstance(x, fx.Node) and isinstance(weight, fx.Node)
    padding, dilation = argument(node, 4, "padding", "valid"), pair(argument(node, 5, "dilation", 1))
    bias, stride, groups = (
        argument(node, 2, "bias"),
        pair(argument(node, 3, "stride", 1)),
        argument(node, 6, "groups", 1),
    )
    total = [0, 0] if padding == "valid" else [d * (k - 1) for d, k in zip(dilation, shape(weight)[2:], strict=True)]
    before = [amount // 2 for amount in total]  # torch pads an odd total by one more cell after
    after = [amount - first for amount, first in zip(total, before, strict=True)]
    if before == after:
        return _call(node, aten.conv2d.default, x, weight, bias, list(stride), before, list(dilation), groups)
    height, width = shape(x)[2] + sum((before[0], after[0])), shape(x)[3] + sum((before[1], after[1]))
    padded = insert(
        node,
        aten.pad.default,
        (x, [before[1], after[1], before[0], after[0]], "constant", 0.0),
        like=node,
        shape=(*shape(x)[:2], height, width),
    )
    return _call(node, aten.conv2d.default, padded, weight, bias, list(stride), [0, 0], list(dilation), groups)


def _convolution(node: fx.Node) -> fx.Node | None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = node.args[:9]
    if len(shape(node)) != 4:
        return None
    if transposed:
        return _call(
            node, aten.conv_transpose2d.input, x, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return _call(node, aten.conv2d.default, x, weight, bias, stride, padding, dilation, groups)


def _clamp(node: fx.Node) -> fx.Node | None:
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if overload(node).startswith("aten.hardtanh"):
        low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        return None
    high = None if high is not None and math.isinf(high) else high
    if (low, high) == (0, None):
        return _call(node, aten.relu.default, node.args[0])
    if (low, high) == (0, 6):
        return _call(node, aten.relu6.default, node.args[0])
    already = overload(node) == "aten.clamp.default" and not node.kwargs
    return None if already else _call(node, aten.clamp.default, node.args[0], low, high)


def _rsub(node: fx.Node) -> fx.Node | None:
    a, b = node.args[:2]
    return _call(node, aten.sub.Tensor, b, a) if argument(node, 2, "alpha", 1) == 1 else None


def _neg(node: fx.Node) -> fx.Node | None:
    return _call(node, aten.mul.Tensor, node.args[0], -1.0)


def _square(node: fx.Node) -> fx.Node | None:
    if overload(node) == "aten.pow.Tensor_Scalar" and node.args[1] != 2:
        return None
    return _call(node, aten.mul.Tensor, node.args[0], node.args[0])


def _scaled_sum(node: fx.Node) -> fx.Node | None:
    """Sums and differences with a number: `add(a, 2, alpha=3)` is `add(a, 6)`."""
    a, b = node.args[:2]
    alpha = argument(node, 2, "alpha", 1)
    target = aten.add.Tensor if "add" in overload(node) else aten.sub.Tensor
    if isinstance(b, (int, float)) and alpha != 1:
        return _call(node, target, a, b * alpha)
    return None if overload(node).endswith(".Tensor") else _call(node, target, a, b) if alpha == 1 else None


def _upsample(node: fx.Node) -> fx.Node | None:
    nearest = "nearest" in overload(node)
    factors = argument(node, 2 if nearest else 3, "scale_factors")
    scales = [None, None] if factors is None else [float(factor) for factor in factors]
    size = list(shape(node)[2:])
    if nearest:
        return _call(node, aten.upsample_nearest2d.default, node.args[0], size, *scales)
    return _call(
        node, aten.upsample_bilinear2d.default, node.args[0], size, bool(argument(node, 2, "align_corners")), *scales
    )


def _nearest_exact(node: fx.Node) -> fx.Node | None:
    """Nearest upsampling by the centres of cells: by a whole factor, the same as by their corners."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if len(shape(node)) != 4 or any(n % before for n, before in zip(shape(node)[2:], shape(source)[2:], strict=True)):
        return None
    return _call(node, aten.upsample_nearest2d.default, source, list(shape(node)[2:]), None, None)


def _adaptive_avg_pool2d(node: fx.Node) -> fx.Node | None:
    """Adaptive pooling by a whole factor as average pooling; to one cell it stays, and is global."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if len(shape(source)) != 4 or shape(node)[2:] == (1, 1):
        return None
    (height, width), (out_height, out_width) = shape(source)[2:], shape(node)[2:]
    if height % out_height or width % out_width:
        return None
    kernel = [height // out_height, width // out_width]
    return _call(node, aten.avg_pool2d.default, source, kernel, kernel)


def _pad(mode: str) -> Callable[[fx.Node], fx.Node | None]:
    def rule(node: fx.Node) -> fx.Node | None:
        value = argument(node, 2, "value", 0) if mode == "constant" else 0
        return _call(node, aten.pad.default, node.args[0], node.args[1], mode, value)

    return rule


def _crop(node: fx.Node) -> fx.Node | None:
    """A slice of rows or columns as a padding by negative amounts; with steps, as a pooling of single cells."""
    source, step = node.args[0], argument(node, 4, "step", 1)
    assert isinstance(source, fx.Node)
    rank = len(shape(source))
    axis = int(argument(node, 1, "dim", 0)) % rank
    if rank != 4 or axis < 2 or (step != 1 and not is_map(source)) or 0 in shape(node):
        return None
    size = shape(source)[axis]
    start = argument(node, 2, "start") or 0
    start = min(max(start + size if start < 0 else start, 0), size)
    if step != 1:
        return _stepped(node, source, axis, start, step)
    after = start + shape(node)[axis] - size
    amounts = [-start, after, 0, 0] if axis == 3 else [0, 0, -start, after]
    return _call(node, aten.pad.default, source, amounts, "constant", 0.0)


def _stepped(node: fx.Node, source: fx.Node, axis: int, start: int, step: int) -> fx.Node:
    """Every so many-th row or column; a slice of both axes is one pooling."""
    steps, amounts = [1, 1], [0, 0, 0, 0]  # (y, x); left, right, top, bottom
    count = shape(node)[axis]
    if overload(source) == "aten.max_pool2d.default" and source.args[1] == [1, 1] and len(source.args) == 3:
        steps, source = list(source.args[2]), source.args[0]  # type: ignore[arg-type,assignment]
        if overload(source) == "aten.pad.default":
            amounts, source = list(source.args[1]), source.args[0]  # type: ignore[arg-type,assignment]
    size, last = shape(source)[axis], start + (count - 1) * step + 1
    spare = size - start if -(-(size - start) // step) == count else last - start
    steps[axis - 2] = step
    amounts[2 * (3 - axis) : 2 * (3 - axis) + 2] = [-start, start + spare - size]
    if any(amounts):
        cut = [
            *shape(source)[:2],
            *(n + sum(amounts[k : k + 2]) for n, k in zip(shape(source)[2:], (2, 0), strict=True)),
        ]
        source = insert(node, aten.pad.default, (source, amounts, "constant", 0.0), like=node, shape=cut)
    return _call(node, aten.max_pool2d.default, source, [1, 1], steps)


def _channels(node: fx.Node) -> fx.Node | None:
    """Slices with ends in `[0, size]`; slices of rows and columns as crops."""
    cropped = _crop(node)
    if cropped is not None:
        return cropped
    source = node.args[0]
    assert isinstance(source, fx.Node)
    axis, step = int(argument(node, 1, "dim", 0)) % len(shape(source)), argument(node, 4, "step", 1)
    size, start = shape(source)[axis], argument(node, 2, "start") or 0
    start = min(max(start + size if start < 0 else start, 0), size)
    plain = (source, axis, start, start + shape(node)[axis])
    return None if step != 1 or node.args == plain else _call(node, aten.slice.Tensor, *plain)


def _cat(node: fx.Node) -> fx.Node | None:
    parts = [part for part in node.args[0] if shape(part) != (0,)]  # type: ignore[union-attr,arg-type]
    axis = int(argument(node, 1, "dim", 0)) % len(shape(node))
    if len(parts) == 1:
        return parts[0]  # type: ignore[return-value]
    plain = (parts, axis)
    return None if tuple(node.args) == plain and not node.kwargs else _call(node, aten.cat.default, *plain)


def _layer_norm(node: fx.Node) -> fx.Node | None:
    if not node.kwargs and len(node.args) == 5:
        return None
    gamma, beta, eps = argument(node, 2, "weight"), argument(node, 3, "bias"), argument(node, 4, "eps", 1e-5)
    return _call(node, aten.layer_norm.default, node.args[0], node.args[1], gamma, beta, eps)


_RULES: Mapping[str, Callable[[fx.Node], fx.Node | None]] = {
    "aten.conv2d.padding": _conv2d_padding,
    "aten.convolution.default": _convolution,
    "aten.hardtanh.default": _clamp,
    "aten.clamp.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.rsub.Scalar": _rsub,
    "aten.rsub.Tensor": _rsub,
    "aten.neg.default": _neg,
    "aten.square.default": _square,
    "aten.pow.Tensor_Scalar": _square,
    "aten.add.Tensor": _scaled_sum,
    "aten.sub.Tensor": _scaled_sum,
    "aten.add.Scalar": _scaled_sum,
    "aten.sub.Scalar": _scaled_sum,
    "aten.subtract.Tensor": _scaled_sum,
    "aten.mul.Scalar": _renamed(aten.mul.Tensor),
    "aten.multiply.Tensor": _renamed(aten.mul.Tensor),
    "aten.div.Scalar": _renamed(aten.div.Tensor),
    "aten.divide.Tensor": _renamed(aten.div.Tensor),
    "aten.true_divide.Tensor": _renamed(aten.div.Tensor),
    "aten.concat.default": _renamed(aten.cat.default),
    "aten.concatenate.default": _renamed(aten.cat.default),
    "aten.cat.default": _cat,
    "aten.slice.Tensor": _channels,
    "aten.upsample_nearest2d.vec": _upsample,
    "aten.upsample_bilinear2d.vec": _upsample,
    "aten._upsample_nearest_exact2d.default": _nearest_exact,
    "aten._upsample_nearest_exact2d.vec": _nearest_exact,
    "aten.adaptive_avg_pool2d.default": _adaptive_avg_pool2d,
    "aten._adaptive_avg_pool2d.default": _adaptive_avg_pool2d,
    "aten.constant_pad_nd.default": _pad("constant"),
    "aten.reflection_pad2d.default": _pad("reflect"),
    "aten.replication_pad2d.default": _pad("replicate"),
    "aten.layer_norm.default": _layer_norm,
    "aten._unsafe_view.default": _renamed(aten.reshape.default),
    "aten._prelu_kernel.default": _renamed(aten.prelu.default),
}
