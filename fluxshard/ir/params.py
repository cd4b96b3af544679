"""Parameters of the ops of a Plan: frozen dataclasses of numbers, strings and tuples.

Fields are keyword arguments of the reference op of the same name (`ops/reference.py`). Pairs are (y, x); paddings are
`((top, bottom), (left, right))` in cells. Roles are the names under which a layer has its weights; `?` marks those that
may be absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

# An activation: its name and up to two numbers; None is the identity.
#   relu, relu6, silu, hardswish, hardsigmoid, gelu (erf), gelu_tanh, sigmoid, tanh, mish   -> (name,)
#   leaky_relu -> (name, negative slope); elu -> (name, alpha); clamp -> (name, low, high);
#   prelu -> (name,), with `(C,)` slopes as the weight of role "slope"
Activation = tuple[str] | tuple[str, float] | tuple[str, float, float]

# name -> how many numbers it takes
ACTIVATIONS: dict[str, int] = {
    "relu": 0, "relu6": 0, "silu": 0, "hardswish": 0, "hardsigmoid": 0, "gelu": 0, "gelu_tanh": 0, "sigmoid": 0,
    "tanh": 0, "mish": 0, "prelu": 0, "leaky_relu": 1, "elu": 1, "clamp": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d:
    """Convolution with a fused epilogue: `act_after(act(conv(x) + bias) + residual)`.

    Inputs: x `(1, Ci, H, W)`; residual?, of the output's shape.
    Roles: weight `(Co, Ci / groups, kh, kw)`; bias? `(Co,)`; slope? `(Co,)`, of a prelu in `act` or `act_after`.
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
    """Transposed convolution with the epilogue of `Conv2d`.

    Inputs and roles are those of `Conv2d`, but weight is `(Ci, Co / groups, kh, kw)`. Padding `(y, x)` is symmetric, as
    in torch.
    """

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
    """Maximum over a window; padding is -inf."""

    op: ClassVar[str] = "max_pool2d"
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool2d:
    """Mean over a window, with the divisor of `torch.nn.functional.avg_pool2d` (`divisor` is its divisor_override)."""

    op: ClassVar[str] = "avg_pool2d"
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise:
    """An activation that no other op absorbed. Role: slope? `(C,)`."""

    op: ClassVar[str] = "pointwise"
    act: Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """`act(x * scale + shift)`: a batch norm that no convolution absorbed. Roles: scale, shift, slope?, all `(C,)`."""

    op: ClassVar[str] = "affine"
    act: Activation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelNorm:
    """Layer norm over the channels of each cell. Roles: gamma?, beta?, both `(C,)`."""

    op: ClassVar[str] = "channel_norm"
    eps: float = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """Elementwise arithmetic: `act(a kind b)`.

    Roles: operand? (see `operand`), slope? `(C,)`.

    Attributes:
      kind: the operation.
      operand: what b is. "value": a second input of a's shape, on the same grid; "vector": a second input of shape
        `(1, C, 1, 1)` or `(1, 1, 1, 1)`, an island's output; "weight": a constant of one of these shapes, of role
        operand; "scalar": the number `scalar`.
      scalar: the number, for operand "scalar".
      swapped: computes `b kind a`.
      act: the activation, or None.
    """

    op: ClassVar[str] = "binary"
    kind: Literal["add", "sub", "mul", "div"]
    operand: Literal["value", "vector", "weight", "scalar"]
    scalar: float = 0.0
    swapped: bool = False
    act: Activation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Bilinear or nearest resampling, as `torch.nn.functional.interpolate`.

    Attributes:
      mode: the interpolation.
      size: (H, W) of the output in cells.
      align_corners: as in torch; for mode "bilinear".
      scale: (y, x) factors from which torch computes source positions; None: it takes the quotients of the sizes.
    """

    op: ClassVar[str] = "resize"
    mode: Literal["bilinear", "nearest"]
    size: Pair
    align_corners: bool = False
    scale: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Padding by `pads` cells; negative amounts crop. Mode "constant" fills with `value`."""

    op: ClassVar[str] = "pad"
    pads: Pads
    mode: Literal["constant", "replicate", "reflect", "circular"] = "constant"
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of the input in memory of its own; views of the image read one."""

    op: ClassVar[str] = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cat:
    """View: concatenation of the channels of the inputs, which share a grid."""

    op: ClassVar[str] = "cat"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSlice:
    """View: channels `[start, stop)`."""

    op: ClassVar[str] = "channel_slice"
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsampleNearest:
    """View: nearest upsampling; every cell appears `factor` times along (y, x)."""

    op: ClassVar[str] = "upsample_nearest"
    factor: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """In an argument of an island's step: the value or weight of this name."""

    name: str


Argument = None | bool | int | float | str | Ref | tuple["Argument", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandStep:
    """A call of one torch op in an island.

    Attributes:
      name: of its result; unique in the island.
      target: overload under `torch.ops`, such as `aten.matmul.default`, or "getitem".
      args, kwargs: numbers, strings, None, Refs and nested tuples. A dtype, device, layout or memory format is the
        string that torch prints, such as "torch.float32".
    """

    name: str
    target: str
    args: tuple[Argument, ...] = ()
    kwargs: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """Torch ops that run dense: attention, global pooling, the decoding of a head. A weight's role is its name."""

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
