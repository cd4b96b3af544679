"""Reads the arguments of a call as parameters of a layer, or says why the call has to run dense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx

from fluxshard.ir.params import (
    PARAMS,
    Activation,
    Affine,
    AvgPool2d,
    Binary,
    Cat,
    ChannelSlice,
    Conv2d,
    ConvTranspose2d,
    MaxPool2d,
    Pad,
    Pair,
    Params,
    Pointwise,
    Resize,
    UpsampleNearest,
)
from fluxshard.ir.windows import whole_factors
from fluxshard.ops.reference import REFERENCE
from fluxshard.ops.table import op_info
from fluxshard.passes.support.graph_edit import argument, overload
from fluxshard.passes.support.meta import is_map, shape

REFERENCE_OPS: Mapping[Callable[..., Tensor], str] = {function: name for name, function in REFERENCE.items()}


def params_of(node: fx.Node) -> Params | str:
    """Parameters of the layer that a call becomes, from the call alone; grids are not considered.

    Returns:
      the parameters, or the reason why the call has to run dense.
    """
    if node.op != "call_function":
        return "not a call"
    if node.target in REFERENCE_OPS:
        kind = PARAMS[REFERENCE_OPS[cast(Callable[..., Tensor], node.target)]]
        return cast(Params, kind(**{f.name: node.kwargs[f.name] for f in fields(kind)}))
    name = overload(node)
    row = op_info(name)
    if row.op is None:
        return f"{name or node.name}: {row.why_not}"
    if not is_map(node) and row.op != "binary":
        return f"{name}: its result is not one float32 map of batch 1"
    found = _READERS[row.op](node)
    return f"{name}: {found}" if isinstance(found, str) else found


def activation(node: fx.Node) -> Activation | str:
    """The activation that a call computes, or why it computes none; slopes of a "prelu" are its second argument."""
    if node.target is REFERENCE["pointwise"]:
        return cast(Activation, node.kwargs["act"])
    name = overload(node).split(".")[1] if overload(node) else ""
    if op_info(overload(node)).op != "pointwise":
        return "not an activation"
    if name == "leaky_relu":
        return (name, float(argument(node, 1, "negative_slope", 0.01)))
    if name == "elu":
        if (argument(node, 2, "scale", 1), argument(node, 3, "input_scale", 1)) != (1, 1):
            return "an ELU with a scale"
        return (name, float(argument(node, 1, "alpha", 1.0)))
    if name == "clamp":
        low, high = argument(node, 1, "min"), argument(node, 2, "max")
        if low is None or high is None:
            return "a clamp with one bound"
        return (name, float(low), float(high))
    if name == "gelu":
        return ("gelu_tanh",) if argument(node, 1, "approximate", "none") == "tanh" else ("gelu",)
    if name == "prelu":
        return (name,) if _is_constant(node.args[1]) else "slopes that are not constant"
    return (name,)


def pair(value: Any) -> Pair:
    """`(y, x)` of an argument for two axes: a number, a sequence of one or a sequence of two."""
    if isinstance(value, int):
        return value, value
    numbers = tuple(int(number) for number in value)
    return (numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _is_constant(node: object) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr"


def _conv2d(node: fx.Node) -> Params | str:
    if not _is_constant(node.args[1]) or not (
        argument(node, 2, "bias") is None or _is_constant(argument(node, 2, "bias"))
    ):
        return "its weights depend on the image"
    top, left = pair(argument(node, 4, "padding", 0))
    return Conv2d(
        stride=pair(argument(node, 3, "stride", 1)),
        padding=((top, top), (left, left)),
        dilation=pair(argument(node, 5, "dilation", 1)),
        groups=int(argument(node, 6, "groups", 1)),
    )


def _conv_transpose2d(node: fx.Node) -> Params | str:
    if not _is_constant(node.args[1]) or not (
        argument(node, 2, "bias") is None or _is_constant(argument(node, 2, "bias"))
    ):
        return "its weights depend on the image"
    return ConvTranspose2d(
        stride=pair(argument(node, 3, "stride", 1)),
        padding=pair(argument(node, 4, "padding", 0)),
        output_padding=pair(argument(node, 5, "output_padding", 0)),
        groups=int(argument(node, 6, "groups", 1)),
        dilation=pair(argument(node, 7, "dilation", 1)),
    )


def _max_pool2d(node: fx.Node) -> Params | str:
    kernel = pair(node.args[1])
    return MaxPool2d(
        kernel=kernel,
        stride=pair(argument(node, 2, "stride", None) or kernel),
        padding=pair(argument(node, 3, "padding", 0)),
        dilation=pair(argument(node, 4, "dilation", 1)),
        ceil_mode=bool(argument(node, 5, "ceil_mode", False)),
    )


def _avg_pool2d(node: fx.Node) -> Params | str:
    kernel = pair(node.args[1])
    divisor = argument(node, 6, "divisor_override")
    return AvgPool2d(
        kernel=kernel,
        stride=pair(argument(node, 2, "stride", None) or kernel),
        padding=pair(argument(node, 3, "padding", 0)),
        ceil_mode=bool(argument(node, 4, "ceil_mode", False)),
        count_include_pad=bool(argument(node, 5, "count_include_pad", True)),
        divisor=None if divisor is None else int(divisor),
    )


def _pointwise(node: fx.Node) -> Params | str:
    act = activation(node)
    return act if isinstance(act, str) else Pointwise(act=act)


def _affine(node: fx.Node) -> Params | str:
    if node.args[3] is None or node.args[4] is None or node.args[5]:
        return "its statistics are over the whole map"
    if any(isinstance(arg, fx.Node) and arg.op != "get_attr" for arg in node.args[1:]):
        return "its statistics depend on the image"
    return Affine()


def _binary(node: fx.Node) -> Params | str:
    if argument(node, 2, "alpha", 1) != 1:
        return "a scaled sum"
    if "rounding_mode" in node.kwargs:
        return "a rounded division"
    kind = cast(Literal["add", "sub", "mul", "div"], overload(node).split(".")[1])
    a, b = node.args[0], node.args[1]
    if not isinstance(b, fx.Node):
        return (
            Binary(kind=kind, operand="scalar", scalar=float(cast(float, b))) if is_map(node) else "not a float32 map"
        )
    if not isinstance(a, fx.Node):
        return Binary(kind=kind, operand="scalar", scalar=float(cast(float, a)), swapped=True)
    if not is_map(node):
        return "its result is not one float32 map of batch 1"
    swapped = shape(a) != shape(node)
    if swapped:
        a, b = b, a
    if shape(a) != shape(node) or not is_map(a) or not _is_float(b):
        return "both operands are stretched" if _is_float(b) else "an operand is not float32"
    if shape(a) == shape(b) and not _is_constant(b):
        return Binary(kind=kind, operand="value", swapped=swapped)
    if shape(b) not in ((1, shape(a)[1], 1, 1), (1, 1, 1, 1)):
        return f"an operand of shape {list(shape(b))} is stretched over {list(shape(a))}"
    return Binary(kind=kind, operand="weight" if _is_constant(b) else "vector", swapped=swapped)


def _is_float(node: fx.Node) -> bool:
    return bool(node.meta["val"].dtype == torch.float32)


def _cat(node: fx.Node) -> Params | str:
    parts = cast(list[object], node.args[0])
    if argument(node, 1, "dim", 0) % 4 != 1:
        return "does not join channels"
    if any(_is_constant(part) for part in parts):
        return "joins a constant"
    return Cat()


def _channel_slice(node: fx.Node) -> Params | str:
    if argument(node, 1, "dim", 0) % len(shape(node)) != 1 or argument(node, 4, "step", 1) != 1:
        return "does not slice channels, or with steps"
    source = cast(fx.Node, node.args[0])
    channels = shape(source)[1]
    start = min(int(argument(node, 2, "start") or 0), channels)
    stop = argument(node, 3, "end")
    return ChannelSlice(start=start, stop=channels if stop is None else min(int(stop), channels))


def _pad(node: fx.Node) -> Params | str:
    amounts = [int(amount) for amount in cast(list[int], node.args[1])]
    left, right, top, bottom = (*amounts, 0, 0, 0, 0)[:4]
    if any(amounts[4:]):
        return "pads channels"
    mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value")
    return Pad(pads=((top, bottom), (left, right)), mode=mode, value=0.0 if value is None else float(value))


def _resize(node: fx.Node) -> Params | str:
    nearest = "nearest" in overload(node)
    size = pair(node.args[1])
    first = 2 if nearest else 3
    factors = (argument(node, first, "scales_h"), argument(node, first + 1, "scales_w"))
    if (factors[0] is None) != (factors[1] is None):
        return "a factor for one axis only"
    align = False if nearest else bool(argument(node, 2, "align_corners"))
    scale = None if factors[0] is None else (float(factors[0]), float(factors[1]))
    params = Resize(mode="nearest" if nearest else "bilinear", size=size, align_corners=align, scale=scale)
    factor = whole_factors(params, cast(tuple[int, int], shape(cast(fx.Node, node.args[0]))[2:])) if nearest else None
    return params if factor is None else UpsampleNearest(factor=factor)


_READERS: Mapping[str, Callable[[fx.Node], Params | str]] = {
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "pointwise": _pointwise,
    "affine": _affine,
    "binary": _binary,
    "cat": _cat,
    "channel_slice": _channel_slice,
    "pad": _pad,
    "resize": _resize,
}
