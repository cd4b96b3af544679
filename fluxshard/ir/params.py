"""Parameters of each op of a Plan: frozen, made of numbers, strings and tuples only.

Field names are those of the reference op of the same name (`ops/reference.py`). Pairs are (y, x); paddings are
`((top, bottom), (left, right))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

# An activation: its name and up to two numbers. None is the identity.
#   relu, relu6, silu, hardswish, hardsigmoid, gelu (erf), gelu_tanh, sigmoid, tanh, mish   -> (name,)
#   leaky_relu -> (name, negative slope); elu -> (name, alpha); clamp -> (name, low, high);
#   prelu -> (name,) with the slopes, one per channel, as the weight of role "slope"
Activation = tuple[str] | tuple[str, float] | tuple[str, float, float]

ACTIVATIONS: dict[str, int] = {
    "relu": 0, "relu6": 0, "silu": 0, "hardswish": 0, "hardsigmoid": 0, "gelu": 0, "gelu_tanh": 0, "sigmoid": 0,
    "tanh": 0, "mish": 0, "prelu": 0, "leaky_relu": 1, "elu": 1, "clamp": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d:
    """`act_after(act(conv(x) + bias) + residual)`; weight `(Co, Ci / groups, kh, kw)`.

    Roles of weights: weight, bias?, slope? (of a prelu in `act` or `act_after`). Inputs: x, residual?.
    """

    op: ClassVar[str] = "conv2d"
    stride: Pair = (1, 1)
    padding: Pads = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    act: Activation | None = None
    act_after: Activation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvTranspose2d:
    """As Conv2d, transposed; weight `(Ci, Co / groups, kh, kw)`, padding `(y, x)` symmetric as in torch."""

    op: ClassVar[str] = "conv_transpose2d"
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    act: Activation | None = None
    act_after: Activation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool2d:
    """Maximum over a window; padding reads -inf."""

    op: ClassVar[str] = "max_pool2d"
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool2d:
    """Mean over a window; the divisor is torch's (count_include_pad, ceil_mode, divisor_override)."""

    op: ClassVar[str] = "avg_pool2d"
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise:
    """An activation on its own. Role: slope?."""

    op: ClassVar[str] = "pointwise"
    act: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """`act(x * scale + shift)` per channel: a batch norm that no convolution absorbed. Roles: scale, shift, slope?."""

    op: ClassVar[str] = "affine"
    act: Activation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelNorm:
    """Layer norm over the channels of each cell. Roles: gamma?, beta?."""

    op: ClassVar[str] = "channel_norm"
    eps: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """`act(a kind b)`.

    `operand` says what b is: "value" a second input on the same grid and with the same channels; "vector" a second
    input of shape `(1, C, 1, 1)` or `(1, 1, 1, 1)` (an island's output); "weight" a constant of shape `(1, C, 1, 1)`,
    role operand; "scalar" the number `scalar`. `swapped` computes `b kind a`. Role: slope?.
    """

    op: ClassVar[str] = "binary"
    kind: Literal["add", "sub", "mul", "div"]
    operand: Literal["value", "vector", "weight", "scalar"]
    scalar: float = 0.0
    swapped: bool = False
    act: Activation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Bilinear or nearest resampling to `size`, as `torch.nn.functional.interpolate`.

    `scale` holds the factors that torch uses for source positions, or None where it derives them from the sizes.
    """

    op: ClassVar[str] = "resize"
    mode: Literal["bilinear", "nearest"]
    size: Pair
    align_corners: bool = False
    scale: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Padding by `pads`; negative numbers crop. `value` is what mode "constant" writes."""

    op: ClassVar[str] = "pad"
    pads: Pads
    mode: Literal["constant", "replicate", "reflect", "circular"] = "constant"
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A tensor of its own with the values of its input (views of the image need one)."""

    op: ClassVar[str] = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cat:
    """View: channels of the inputs, one after another, all on one grid."""

    op: ClassVar[str] = "cat"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSlice:
    """View: channels `[start, stop)`."""

    op: ClassVar[str] = "channel_slice"
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsampleNearest:
    """View: every cell repeated `factor` times along (y, x)."""

    op: ClassVar[str] = "upsample_nearest"
    factor: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """In an island: the value or weight of this name."""

    name: str


Argument = None | bool | int | float | str | Ref | tuple["Argument", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandStep:
    """One torch op of an island, for example `aten.matmul.default`.

    Attributes:
      name: what its result is called.
      target: overload under `torch.ops`, or "getitem".
      args, kwargs: base types, Refs and nested tuples. A dtype, device, layout or memory format is the string that
        torch prints ("torch.float32").
    """

    name: str
    target: str
    args: tuple[Argument, ...] = ()
    kwargs: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """Dense torch ops that run whole: attention, global pooling, a head's decoding. A weight's role is its name."""

    op: ClassVar[str] = "island"
    steps: tuple[IslandStep, ...]


Params = (
    Conv2d | ConvTranspose2d | MaxPool2d | AvgPool2d | Pointwise | Affine | ChannelNorm | Binary | Resize | Pad | Copy
    | Cat | ChannelSlice | UpsampleNearest | Island
)  # fmt: skip
PARAMS: dict[str, type] = {
    kind.op: kind
    for kind in (
        Conv2d, ConvTranspose2d, MaxPool2d, AvgPool2d, Pointwise, Affine, ChannelNorm, Binary, Resize, Pad, Copy,
        Cat, ChannelSlice, UpsampleNearest, Island,
    )
}  # fmt: skip
VIEWS = frozenset({Cat.op, ChannelSlice.op, UpsampleNearest.op})
