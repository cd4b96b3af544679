"""Reference semantics of every op of a Plan: eager torch on dense `(1, C, H, W)` tensors.

Kernels of all backends are tested against these functions. The graph that the passes produce calls them, so it can be
run and compared with the original model. Tensors come first, `None` where absent; keyword arguments are the fields of
the dataclass of the same name in `ir/params.py`, which has the arguments' meaning and shapes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fluxshard.ir.params import Activation, IslandStep, Pads, Pair, Ref


def activate(x: Tensor, act: Activation | None, slope: Tensor | None = None) -> Tensor:
    """Applies an activation of `ir.params.ACTIVATIONS`; `slope` holds the `(C,)` slopes of a prelu."""
    if act is None:
        return x
    kind, *numbers = act
    if kind == "prelu":
        assert slope is not None, "prelu needs its slopes"
        return F.prelu(x, slope)
    return _ACTIVATIONS[kind](x, *numbers)


_ACTIVATIONS: Mapping[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "clamp": torch.clamp,
}


def _finish(
    y: Tensor, residual: Tensor | None, slope: Tensor | None, act: Activation | None, act_after: Activation | None
) -> Tensor:
    y = activate(y, act, slope)
    if residual is not None:
        y = y + residual
    return activate(y, act_after, slope)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    slope: Tensor | None = None,
    *,
    stride: Pair,
    padding: Pads,
    dilation: Pair,
    groups: int,
    act: Activation | None,
    act_after: Activation | None,
) -> Tensor:
    """`act_after(act(conv(x) + bias) + residual)`; arguments as in `ir.params.Conv2d`, padding may be asymmetric."""
    (top, bottom), (left, right) = padding
    if top == bottom and left == right:
        y = F.conv2d(x, weight, bias, stride, (top, left), dilation, groups)
    else:
        y = F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride, 0, dilation, groups)
    return _finish(y, residual, slope, act, act_after)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    slope: Tensor | None = None,
    *,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    dilation: Pair,
    groups: int,
    act: Activation | None,
    act_after: Activation | None,
) -> Tensor:
    """`act_after(act(conv_transpose(x) + bias) + residual)`; arguments as in `ir.params.ConvTranspose2d`."""
    y = F.conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _finish(y, residual, slope, act, act_after)


def max_pool2d(x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> Tensor:
    """Maximum over a window; padding is -inf. Arguments as in `ir.params.MaxPool2d`."""
    return F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)


def avg_pool2d(
    x: Tensor,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    """Mean over a window; arguments as in `ir.params.AvgPool2d`."""
    return F.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor)


def pointwise(x: Tensor, slope: Tensor | None = None, *, act: Activation) -> Tensor:
    """An activation."""
    return activate(x, act, slope)


def affine(x: Tensor, scale: Tensor, shift: Tensor, slope: Tensor | None = None, *, act: Activation | None) -> Tensor:
    """`act(x * scale + shift)`; arguments as in `ir.params.Affine`."""
    return activate(torch.addcmul(shift.view(1, -1, 1, 1), x, scale.view(1, -1, 1, 1)), act, slope)


def channel_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, *, eps: float) -> Tensor:
    """Layer norm over the channels of each cell; arguments as in `ir.params.ChannelNorm`."""
    last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), gamma, beta, eps)
    return last.permute(0, 3, 1, 2).contiguous()


_BINARY: Mapping[str, Callable[[Tensor | float, Tensor | float], Tensor]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}


def binary(
    a: Tensor,
    b: Tensor | None = None,
    slope: Tensor | None = None,
    *,
    kind: str,
    operand: str,
    scalar: float,
    swapped: bool,
    act: Activation | None,
) -> Tensor:
    """`act(a kind b)`, or `act(b kind a)` where `swapped`.

    Args:
      a: `(1, C, H, W)`.
      b: `(1, C, H, W)`, `(1, C, 1, 1)` or `(1, 1, 1, 1)`; None takes `scalar`.
      slope: `(C,)` slopes of a prelu.
      kind: "add", "sub", "mul" or "div".
      operand: where b comes from (`ir.params.Binary`); does not change the result.
      scalar: the second operand where b is None.
      swapped: exchanges the operands.
      act: the activation, or None.
    """
    other: Tensor | float = scalar if b is None else b
    left, right = (other, a) if swapped else (a, other)
    return activate(_BINARY[kind](left, right), act, slope)


def resize(x: Tensor, *, mode: str, size: Pair, align_corners: bool, scale: tuple[float, float] | None) -> Tensor:
    """Nearest or bilinear resampling; arguments as in `ir.params.Resize`."""
    scale_y, scale_x = scale or (None, None)
    if mode == "nearest":
        nearest: Tensor = torch.ops.aten.upsample_nearest2d.default(x, size, scale_y, scale_x)
        return nearest
    bilinear: Tensor = torch.ops.aten.upsample_bilinear2d.default(x, size, align_corners, scale_y, scale_x)
    return bilinear


def pad(x: Tensor, *, pads: Pads, mode: str, value: float) -> Tensor:
    """Padding by `((top, bottom), (left, right))` cells, arguments as in `ir.params.Pad`; negative amounts crop."""
    (top, bottom), (left, right) = pads
    amounts = (left, right, top, bottom)
    return F.pad(x, amounts, mode, value) if mode == "constant" else F.pad(x, amounts, mode)


def copy(x: Tensor) -> Tensor:
    """A copy in memory of its own."""
    return x.clone()


def cat(*xs: Tensor) -> Tensor:
    """Concatenation of channels."""
    return torch.cat(xs, 1)


def channel_slice(x: Tensor, *, start: int, stop: int) -> Tensor:
    """Channels `[start, stop)`."""
    return x[:, start:stop]


def upsample_nearest(x: Tensor, *, factor: Pair) -> Tensor:
    """Repeats every cell `factor` times along (y, x)."""
    return x.repeat_interleave(factor[0], 2).repeat_interleave(factor[1], 3)


def run_island(steps: Sequence[IslandStep], names: Mapping[str, Tensor]) -> dict[str, object]:
    """Runs the steps of an island (`ir.params.Island`).

    Args:
      steps: the ops, in order.
      names: inputs and weights by name.

    Returns:
      inputs, weights and the result of every step, by name.
    """
    return IslandProgram(steps)(names)


class IslandProgram:
    """An island with its ops resolved once, to be run many times.

    Args:
      steps: the ops, in order.
    """

    def __init__(self, steps: Sequence[IslandStep]) -> None:
        self._steps = [
            (
                step.name,
                _target(step.target),
                [_reader(argument) for argument in step.args],
                {key: _reader(argument) for key, argument in step.kwargs},
            )
            for step in steps
        ]

    @torch.no_grad()
    def __call__(self, names: Mapping[str, Tensor]) -> dict[str, object]:
        """Runs all steps on inputs and weights by name; returns what `run_island` does."""
        results: dict[str, object] = dict(names)
        for name, target, args, kwargs in self._steps:
            results[name] = target(
                *[read(results) for read in args], **{key: read(results) for key, read in kwargs.items()}
            )
        return results


def _target(name: str) -> Callable[..., object]:
    if name == "getitem":
        return operator.getitem
    namespace, op, overload = name.split(".")
    packet = getattr(getattr(torch.ops, namespace), op)
    resolved: Callable[..., object] = getattr(packet, overload)
    return resolved


def _reader(argument: object) -> Callable[[Mapping[str, object]], object]:
    """A function from the results so far to the value of an argument."""
    if isinstance(argument, Ref):
        return operator.itemgetter(argument.name)
    if isinstance(argument, tuple):
        readers = [_reader(item) for item in argument]
        return lambda results: [read(results) for read in readers]
    if isinstance(argument, str) and argument.startswith("torch."):
        argument = getattr(torch, argument.removeprefix("torch."))
    return lambda _: argument


# op of ir.params -> definition; `cat` takes its inputs as separate arguments, `run_island` runs islands
REFERENCE: Mapping[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (
        conv2d, conv_transpose2d, max_pool2d, avg_pool2d, pointwise, affine, channel_norm, binary, resize, pad, copy,
        cat, channel_slice, upsample_nearest,
    )
}  # fmt: skip
# op -> roles of its tensor arguments after the inputs, in order
ROLES: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("weight", "bias", "residual", "slope"),
    "conv_transpose2d": ("weight", "bias", "residual", "slope"),
    "pointwise": ("slope",),
    "affine": ("scale", "shift", "slope"),
    "channel_norm": ("gamma", "beta"),
    "binary": ("operand", "slope"),
}
