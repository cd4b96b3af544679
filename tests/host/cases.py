"""One plan that holds every op in many shapes: odd sizes, all kinds of channels, several segments, uneven padding."""

from __future__ import annotations

import itertools
from functools import cache

import torch

from fluxshard.ir.params import (
    ACTIVATIONS,
    Activation,
    Affine,
    AvgPool2d,
    Binary,
    Cat,
    ChannelNorm,
    ChannelSlice,
    Conv2d,
    ConvTranspose2d,
    Copy,
    Island,
    IslandStep,
    MaxPool2d,
    Pad,
    Pointwise,
    Ref,
    Resize,
    UpsampleNearest,
)
from fluxshard.ir.plan import Plan
from tests.host.plans import PlanBuilder

NUMBERS = {"leaky_relu": (0.1,), "elu": (1.3,), "clamp": (-0.5, 0.75)}
ACTS: tuple[Activation, ...] = tuple((name, *NUMBERS.get(name, ())) for name in ACTIVATIONS)  # type: ignore[misc]


@cache
def everything() -> tuple[Plan, dict[str, torch.Tensor]]:
    """The plan and its weights; each layer is named after what it tests."""
    b = PlanBuilder((3, 17, 13))
    _sources(b)
    _convolutions(b)
    _grouped(b)
    _transposed(b)
    _windows(b)
    _cells(b)
    _views(b)
    _islands(b)
    return b.plan("conv_3x3", "cat_of_all", "x", "attended"), b.weights


def _conv(
    b: PlanBuilder, name: str, source: str, out: int, kernel: tuple[int, int], *, bias: bool = True, **params: object
) -> str:
    p = Conv2d(**params)  # type: ignore[arg-type]
    slope = b.weight(out) if ("prelu",) in (p.act, p.act_after) else None
    return b.add(
        name, p, source, weight=b.weight(out, b.channels(source) // p.groups, *kernel, low=-0.4, high=0.4),
        bias=b.weight(out) if bias else None, slope=slope,
    )  # fmt: skip


def _sources(b: PlanBuilder) -> None:
    """Stored values of several widths that the other layers read; all on the image's grid."""
    for channels in (1, 5, 8, 16, 33):
        b.add(f"c{channels}", Conv2d(), "x", weight=b.weight(channels, 3, 1, 1), bias=b.weight(channels))
    b.add("copied", Copy(), "x")
    b.add("joined", Cat(), "c16", "copied", "c5")  # 24 channels in three stores
    b.add("middle", ChannelSlice(start=3, stop=22), "joined")  # 19 channels, unaligned
    b.add("half", Conv2d(stride=(2, 2), padding=((1, 1), (1, 1))), "c8", weight=b.weight(12, 8, 3, 3))
    b.add("doubled", UpsampleNearest(factor=(2, 2)), "half")
    b.add("cropped", Pad(pads=((0, -1), (0, -1))), "doubled")


def _convolutions(b: PlanBuilder) -> None:
    one = ((1, 1), (1, 1))
    _conv(b, "conv_3x3", "c16", 16, (3, 3), padding=one)
    _conv(b, "conv_of_image", "x", 16, (3, 3), padding=one, stride=(2, 2), act=("silu",))
    _conv(b, "conv_1x1", "c33", 17, (1, 1))
    _conv(b, "conv_1x1_stride_2", "c33", 3, (1, 1), stride=(2, 2))
    _conv(b, "conv_one_channel", "c1", 1, (3, 3), padding=one)
    _conv(b, "conv_130_channels", "c33", 130, (3, 3), padding=one, bias=False)
    _conv(b, "conv_from_130", "conv_130_channels", 5, (1, 1))
    _conv(b, "conv_even", "c5", 7, (4, 2), padding=((1, 2), (0, 1)))
    _conv(b, "conv_asymmetric", "c8", 48, (3, 5), padding=((0, 2), (3, 1)), stride=(1, 2))
    _conv(b, "conv_dilated", "c8", 80, (3, 3), padding=((2, 2), (3, 3)), dilation=(2, 3))
    _conv(b, "conv_strided_dilated", "c5", 33, (3, 3), padding=((3, 3), (1, 1)), dilation=(3, 2), stride=(3, 2))
    _conv(b, "conv_7x7", "x", 24, (7, 7), padding=((3, 3), (3, 3)), stride=(2, 2))
    _conv(b, "conv_wide_padding", "c5", 4, (3, 3), padding=((5, 4), (4, 5)))
    _conv(b, "conv_no_padding", "c16", 64, (5, 5))
    _conv(b, "conv_of_cat", "joined", 20, (3, 3), padding=one)
    _conv(b, "conv_of_slice", "middle", 32, (3, 3), padding=one)
    _conv(b, "conv_of_upsampled", "doubled", 9, (3, 3), padding=one)
    for act in ACTS:
        _conv(b, f"conv_then_{act[0]}", "c5", 6, (1, 1), act=act)
    for source, act, after in (
        ("c16", None, ("relu",)),
        ("c16", ("silu",), None),
        ("c16", ("prelu",), ("clamp", -1.0, 2.0)),
    ):
        name = f"residual_{act[0] if act else 'none'}_{after[0] if after else 'none'}"
        _conv_residual(b, name, "c8", source, act, after)
    _conv_residual(b, "residual_view", "c8", "middle", None, ("relu6",))


def _conv_residual(
    b: PlanBuilder, name: str, source: str, residual: str, act: Activation | None, after: Activation | None
) -> None:
    out = b.channels(residual)
    b.add(
        name, Conv2d(padding=((1, 1), (1, 1)), act=act, act_after=after), source, residual,
        weight=b.weight(out, b.channels(source), 3, 3, low=-0.4, high=0.4), bias=b.weight(out),
        slope=b.weight(out) if ("prelu",) in (act, after) else None,
    )  # fmt: skip


def _grouped(b: PlanBuilder) -> None:
    one = ((1, 1), (1, 1))
    _conv(b, "depthwise", "c33", 33, (3, 3), padding=one, groups=33, act=("hardswish",))
    _conv(b, "depthwise_of_cat", "joined", 24, (5, 3), padding=((2, 2), (1, 1)), groups=24, stride=(2, 2))
    _conv(b, "depthwise_one", "c1", 1, (3, 3), padding=one)
    _conv(b, "multiplier", "c5", 15, (3, 3), padding=one, groups=5)
    _conv(b, "grouped_2", "c16", 34, (3, 3), padding=one, groups=2)
    _conv(b, "grouped_4", "c8", 8, (3, 3), padding=one, groups=4, dilation=(2, 2), act=("relu",))
    _conv(b, "grouped_of_cat", "joined", 12, (1, 1), groups=3)
    b.add(
        "depthwise_residual", Conv2d(padding=one, groups=16, act=("relu",)), "c16", "c16", weight=b.weight(16, 1, 3, 3)
    )


def _transposed(b: PlanBuilder) -> None:
    def add(name: str, source: str, out: int, kernel: tuple[int, int], **params: object) -> None:
        p = ConvTranspose2d(**params)  # type: ignore[arg-type]
        weight = b.weight(b.channels(source), out // p.groups, *kernel, low=-0.4, high=0.4)
        b.add(name, p, source, weight=weight, bias=b.weight(out))

    add("transposed_2x2", "half", 8, (2, 2), stride=(2, 2), act=("silu",))
    add("transposed_4x4", "half", 20, (4, 4), stride=(2, 2), padding=(1, 1))
    add("transposed_gaps", "half", 5, (2, 1), stride=(3, 2), output_padding=(1, 1))  # phases without a tap
    add("transposed_dilated", "half", 6, (3, 3), stride=(2, 1), padding=(1, 2), dilation=(2, 2))
    add("transposed_plain", "c5", 4, (3, 3), padding=(1, 1))
    add("transposed_grouped", "half", 6, (3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 0), groups=3)
    add("transposed_of_cat", "joined", 17, (3, 3), stride=(2, 2), padding=(1, 1))


def _windows(b: PlanBuilder) -> None:
    b.add("max_2", MaxPool2d(kernel=(2, 2), stride=(2, 2)), "c33")
    b.add("max_5_same", MaxPool2d(kernel=(5, 5), stride=(1, 1), padding=(2, 2)), "c16")
    b.add("max_ceil", MaxPool2d(kernel=(3, 2), stride=(2, 3), padding=(1, 1), ceil_mode=True), "c5")
    b.add("max_dilated", MaxPool2d(kernel=(3, 3), stride=(1, 2), padding=(1, 1), dilation=(2, 3)), "joined")
    for number, (ceil, include, divisor) in enumerate(itertools.product((False, True), (False, True), (None, 5))):
        pool = AvgPool2d(
            kernel=(3, 2), stride=(2, 3), padding=(1, 1), ceil_mode=ceil, count_include_pad=include, divisor=divisor
        )
        b.add(f"avg_{number}", pool, "c5" if number % 2 else "joined")
    pads = ((2, 1), (0, 3))
    for mode in ("constant", "replicate", "reflect", "circular"):
        b.add(f"pad_{mode}", Pad(pads=pads, mode=mode, value=0.5 if mode == "constant" else 0.0), "c5")  # type: ignore[arg-type]
    b.add("crop", Pad(pads=((-1, -2), (-3, 0))), "joined")
    b.add("pad_and_crop", Pad(pads=((3, -2), (-1, 2)), value=-1.0), "c16")
    size = (17, 13)
    for align in (False, True):
        b.add(f"bilinear_2_{align}", Resize(mode="bilinear", size=(34, 26), align_corners=align), "c5")
        b.add(f"bilinear_odd_{align}", Resize(mode="bilinear", size=(25, 9), align_corners=align), "joined")
    b.add("bilinear_3", Resize(mode="bilinear", size=(3 * size[0], 3 * size[1]), scale=(3.0, 3.0)), "c1")
    b.add("bilinear_scale", Resize(mode="bilinear", size=(22, 16), scale=(1.3, 1.3)), "c8")
    b.add("nearest_odd", Resize(mode="nearest", size=(25, 9)), "c16")
    b.add("nearest_scale", Resize(mode="nearest", size=(22, 16), scale=(1.3, 1.3)), "joined")


def _cells(b: PlanBuilder) -> None:
    for act in ACTS:
        slope = b.weight(33) if act == ("prelu",) else None
        b.add(f"pointwise_{act[0]}", Pointwise(act=act), "c33", slope=slope)
    b.add("pointwise_of_cat", Pointwise(act=("relu",)), "joined")
    b.add("affine", Affine(act=("relu",)), "c33", scale=b.weight(33), shift=b.weight(33))
    b.add("affine_prelu", Affine(act=("prelu",)), "joined", scale=b.weight(24), shift=b.weight(24), slope=b.weight(24))
    b.add("norm", ChannelNorm(), "c33", gamma=b.weight(33), beta=b.weight(33))
    b.add("norm_plain", ChannelNorm(eps=1e-3), "joined")
    # quotients stay finite: what is divided by is bounded away from zero
    b.add("positive", Binary(kind="add", operand="scalar", scalar=2.0, act=("relu",)), "pointwise_sigmoid")
    for kind, swapped in itertools.product(("add", "sub", "mul", "div"), (False, True)):
        name = f"{kind}_{'swapped' if swapped else 'plain'}"
        source = "positive" if kind == "div" and swapped else "c33"
        b.add(
            f"{name}_value", Binary(kind=kind, operand="value", swapped=swapped, act=("relu",)), source,
            "positive" if source == "c33" else "c33",
        )  # type: ignore[arg-type]  # fmt: skip
        b.add(f"{name}_scalar", Binary(kind=kind, operand="scalar", scalar=1.7, swapped=swapped), source)  # type: ignore[arg-type]
        operand = b.weight(1, 33, 1, 1, low=0.5)
        b.add(f"{name}_weight", Binary(kind=kind, operand="weight", swapped=swapped), source, operand=operand)  # type: ignore[arg-type]
    b.add("mul_one_weight", Binary(kind="mul", operand="weight"), "joined", operand=b.weight(1, 1, 1, 1))
    b.add("add_views", Binary(kind="add", operand="value", act=("silu",)), "joined", "joined")


def _views(b: PlanBuilder) -> None:
    b.add("slice_of_slice", ChannelSlice(start=1, stop=14), "middle")
    b.add("cat_of_all", Cat(), "slice_of_slice", "c1", "middle", "c33")
    b.add("copy_of_views", Copy(), "cat_of_all")
    b.add("upsampled_3", UpsampleNearest(factor=(3, 2)), "half")
    b.add("upsampled_twice", UpsampleNearest(factor=(1, 3)), "upsampled_3")
    b.add("upsampled_part", ChannelSlice(start=2, stop=11), "upsampled_twice")
    b.add("copy_of_upsampled", Copy(), "upsampled_part")
    b.add("quarter", MaxPool2d(kernel=(2, 2), stride=(2, 2)), "half")
    b.add("cat_low", Cat(), "half", "half")
    b.add("conv_of_cat_low", Conv2d(), "cat_low", weight=b.weight(4, 24, 1, 1))


def _islands(b: PlanBuilder) -> None:
    scale = Island(
        steps=(
            IslandStep(name="pooled", target="aten.mean.dim", args=(Ref(name="joined"), (2, 3), True)),
            IslandStep(name="gate", target="aten.sigmoid.default", args=(Ref(name="pooled"),)),
            IslandStep(name="level", target="aten.mean.dim", args=(Ref(name="gate"), (1,), True)),
        )
    )
    b.island(
        "squeeze", scale, ("joined",), {"gate": torch.zeros(1, 24, 1, 1), "level": torch.zeros(1, 1, 1, 1)}, "joined"
    )
    b.add("excited", Binary(kind="mul", operand="vector"), "joined", "gate")
    b.add("levelled", Binary(kind="sub", operand="vector", swapped=True, act=("relu",)), "c5", "level")
    centred = Island(
        steps=(
            IslandStep(name="mean", target="aten.mean.dim", args=(Ref(name="excited"), (2, 3), True)),
            IslandStep(name="attended", target="aten.sub.Tensor", args=(Ref(name="excited"), Ref(name="mean"))),
            IslandStep(name="scaled", target="aten.mul.Tensor", args=(Ref(name="half"), Ref(name="level"))),
        )
    )
    results = {"attended": torch.zeros(1, 24, 17, 13)}
    b.island("centre", centred, ("excited", "half", "level"), results, "excited")
    b.add("conv_of_attended", Conv2d(padding=((1, 1), (1, 1))), "attended", weight=b.weight(3, 24, 3, 3))
