"""Plans with layers of many shapes: what kernels of every backend are checked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fluxshard.ir import params as P
from fluxshard.testing.plan_builder import PlanBuilder

HEIGHT, WIDTH = 15, 21
MASKS = ("empty", "single", "borders", "random", "full", "random", "empty", "corner")
EXTREMES = (1e4, -1e4, 0.0, -0.0, float("nan"), float("inf"), float("-inf"), 88.5, -88.5, 1e-30, 20.0, -3.0, 3.0, 6.0)


def segmented(b: PlanBuilder, x: str, channels: int) -> str:
    """A value of several segments with this many channels: an upsampled map, a slice and, if there is room, a map."""
    third = max(1, channels // 3)
    low = b.conv(x, third, (3, 3), stride=(3, 3), bias=False)
    wide = b.conv(x, third + 5)
    parts = [b.add(P.UpsampleNearest(factor=(3, 3)), low), b.add(P.ChannelSlice(start=2, stop=2 + third), wide)]
    if channels - 2 * third > 0:
        parts.append(b.conv(x, channels - 2 * third))
    return b.add(P.Cat(), *parts[: channels - third + 1])


def convolutions(b: PlanBuilder) -> None:
    of = {c: b.conv("image", c) for c in (1, 3, 7, 8, 16, 17, 33, 64, 130)}
    same = ((1, 1), (1, 1))
    b.conv("image", 8, (3, 3), padding=same, act=("silu",))
    b.conv("image", 17, (2, 3), stride=(2, 2), padding=((1, 0), (0, 2)), bias=False)
    b.conv(of[1], 3, (3, 3), padding=same, bias=False)
    b.conv(of[3], 7, (3, 3), stride=(2, 2), padding=same, act=("relu",))
    b.conv(of[7], 8, (5, 3), stride=(3, 3), padding=((2, 2), (1, 1)))
    b.conv(of[8], 16, (3, 3), dilation=(2, 2), padding=((2, 2), (2, 2)), act=("leaky_relu", 0.1))
    b.conv(of[16], 17, (1, 1), stride=(2, 2))
    b.conv(of[17], 33, (3, 3), padding=((0, 1), (2, 0)), act=("prelu",))
    b.conv(of[33], 64, (2, 2), padding=((1, 0), (0, 1)))
    b.conv(of[64], 130, (3, 3), padding=same, stride=(3, 1))
    b.conv(of[130], 1, (3, 3), padding=same)
    b.conv(of[130], 80, (1, 1), act=("hardswish",))
    b.conv(of[16], 16, (7, 7), dilation=(2, 1), padding=((6, 6), (5, 1)))
    b.conv(of[7], 17, (3, 3), of[17], padding=same, act=("silu",))
    b.conv(of[7], 33, (3, 3), of[33], padding=same, act_after=("relu",), bias=False)
    b.conv(of[3], 7, (1, 1), of[7], act=("prelu",), act_after=("clamp", -0.5, 0.5))
    mixed = segmented(b, of[8], 17)
    b.conv(mixed, 33, (3, 3), padding=same)
    b.conv(segmented(b, of[3], 33), 17, (3, 3), mixed, stride=(1, 1), padding=same, act=("relu",))
    b.conv(segmented(b, of[3], 3), 3, (3, 3), stride=(2, 3), dilation=(1, 2), padding=((0, 3), (4, 0)))


def sliding(b: PlanBuilder) -> None:
    """Windows of 3x3 over whole vectors of channels, which the C++ kernels compute in tiles of 2x2 cells."""
    of = {c: b.conv("image", c) for c in (16, 17, 48, 64, 144)}
    same = ((1, 1), (1, 1))
    b.conv(of[16], 16, (3, 3), padding=same, act=("silu",))
    b.conv(of[16], 1, (3, 3), padding=same, bias=False)
    b.conv(of[48], 17, (3, 3), of[17], padding=same, act=("prelu",), act_after=("relu",))
    b.conv(of[64], 130, (3, 3), act=("relu",))  # without padding
    b.conv(of[144], 40, (3, 3), padding=((2, 0), (1, 3)))
    low = b.conv("image", 16, (3, 3), stride=(3, 3), bias=False)
    parts = b.add(P.UpsampleNearest(factor=(3, 3)), low), b.add(P.ChannelSlice(start=16, stop=48), of[64]), of[16]
    b.conv(b.add(P.Cat(), *parts), 64, (3, 3), of[64], padding=same, act=("silu",))
    b.conv(low, 16, (3, 3), padding=same)


def groups(b: PlanBuilder) -> None:
    of = {c: b.conv("image", c) for c in (3, 7, 8, 16, 17, 33, 130)}
    same = ((1, 1), (1, 1))
    b.conv("image", 5, (3, 3), groups=5, padding=same)
    b.conv(of[7], 7, (3, 3), groups=7, padding=same, act=("silu",))
    b.conv(of[17], 17, (3, 3), groups=17, stride=(2, 2), padding=same, bias=False)
    b.conv(of[33], 33, (5, 5), groups=33, dilation=(2, 1), padding=((4, 3), (0, 2)))
    b.conv(of[130], 130, (3, 3), groups=130, stride=(3, 3), act=("relu6",))
    b.conv(of[3], 6, (3, 3), groups=3, padding=same)
    b.conv(of[8], 6, (3, 3), groups=2, padding=same, stride=(2, 1))
    b.conv(of[8], 66, (1, 1), groups=2, act=("relu",))
    b.conv(of[16], 20, (2, 3), groups=4, padding=((1, 0), (0, 2)), dilation=(2, 2))
    b.conv(of[16], 16, (3, 3), of[16], groups=16, padding=same, act=("relu",), act_after=("relu",))
    b.conv(of[8], 16, (3, 3), of[16], groups=8, padding=same, act=("prelu",))
    mixed = segmented(b, of[8], 17)
    b.conv(mixed, 17, (3, 3), mixed, groups=17, padding=same)
    b.conv(segmented(b, of[8], 14), 21, (3, 3), groups=7, padding=same)


def transposed(b: PlanBuilder) -> None:
    low = {c: b.conv("image", c, (3, 3), stride=(3, 3)) for c in (1, 3, 8, 17, 33, 130)}
    b.transposed(low[3], 17, (4, 4), stride=(2, 2), padding=(1, 1), act=("relu",))
    b.transposed(low[17], 8, (3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 0), bias=False)
    b.transposed(low[8], 33, (2, 2), stride=(3, 3), output_padding=(0, 2))  # phases that no tap reaches
    b.transposed(low[130], 7, (3, 2), stride=(1, 2), padding=(1, 0), dilation=(2, 1))
    b.transposed(low[1], 1, (1, 1), stride=(2, 2), output_padding=(1, 1))
    b.transposed(low[33], 64, (2, 2), stride=(2, 2), act=("prelu",))
    b.transposed(low[8], 6, (3, 3), stride=(2, 2), groups=2, padding=(0, 1), output_padding=(1, 1))
    b.transposed(low[17], 17, (4, 4), stride=(2, 2), groups=17, padding=(1, 1))
    b.transposed(low[8], 40, (3, 3), stride=(3, 2), groups=2, dilation=(1, 2))
    residual = b.conv("image", 3)
    b.transposed(low[17], 3, (3, 3), residual, stride=(3, 3), act=("silu",), act_after=("relu",))
    b.transposed("image", 4, (2, 2), stride=(2, 2))
    b.transposed(segmented(b, residual, 17), 9, (3, 3), stride=(2, 2), padding=(1, 1))


def pools(b: PlanBuilder) -> None:
    one, odd, wide = (b.conv("image", c) for c in (1, 17, 130))
    mixed = segmented(b, odd, 33)
    b.add(P.MaxPool2d(kernel=(2, 2), stride=(2, 2)), "image")
    b.add(P.MaxPool2d(kernel=(3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True), odd)
    b.add(P.MaxPool2d(kernel=(3, 2), stride=(1, 2), padding=(1, 0), dilation=(2, 3)), wide)
    b.add(P.MaxPool2d(kernel=(2, 3), stride=(3, 2), padding=(0, 1), ceil_mode=True), mixed)
    b.add(P.MaxPool2d(kernel=(5, 5), stride=(1, 1), padding=(2, 2)), one)
    for include in (True, False):
        for ceil_mode in (True, False):
            b.add(
                P.AvgPool2d(
                    kernel=(3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=ceil_mode, count_include_pad=include
                ),
                odd,
            )
    b.add(P.AvgPool2d(kernel=(2, 3), stride=(2, 3), padding=(1, 0), ceil_mode=True, count_include_pad=False), mixed)
    b.add(P.AvgPool2d(kernel=(4, 2), stride=(3, 3), ceil_mode=True, count_include_pad=True), wide)
    b.add(P.AvgPool2d(kernel=(3, 3), stride=(1, 1), padding=(1, 1), divisor=5), "image")
    b.add(P.AvgPool2d(kernel=(3, 3), stride=(1, 1), count_include_pad=False, divisor=-2), one)


def activations(b: PlanBuilder) -> None:
    numbers: dict[str, tuple[float, ...]] = {"leaky_relu": (0.2,), "elu": (1.3,), "clamp": (-0.7, 2.5)}
    for name in P.ACTIVATIONS:
        act = (name, *numbers.get(name, ()))
        slope = {"slope": b.draw(b.channels("image"))} if name == "prelu" else {}
        b.add(P.Pointwise(act=act), "image", **slope)  # type: ignore[arg-type]


def rowwise(b: PlanBuilder) -> None:
    odd, same, wide = b.conv("image", 17), b.conv("image", 17), b.conv("image", 130)
    one = b.conv("image", 1)
    mixed = segmented(b, odd, 17)
    for x, act in ((odd, None), ("image", ("relu",)), (mixed, ("prelu",)), (wide, ("clamp", -1.0, 1.0))):
        n = b.channels(x)
        slope = {"slope": b.draw(n)} if act == ("prelu",) else {}
        b.add(P.Affine(act=act), x, scale=b.draw(n), shift=b.draw(n), **slope)  # type: ignore[arg-type]
    b.add(P.ChannelNorm(), odd, gamma=b.draw(17), beta=b.draw(17))
    b.add(P.ChannelNorm(eps=0.1), wide, beta=b.draw(130))
    b.add(P.ChannelNorm(eps=1e-3), mixed, gamma=b.draw(17))
    b.add(P.ChannelNorm(), one)
    b.add(P.Copy(), "image")
    b.add(P.Copy(), mixed)
    away = b.add(P.Pointwise(act=("clamp", 0.5, 4.0)), same)  # nothing is divided by numbers next to zero
    safe = b.add(P.Binary(kind="add", operand="scalar", scalar=5.0, act=("clamp", 1.0, 9.0)), mixed)
    for kind in ("add", "sub", "mul", "div"):
        for swapped in (False, True):
            left, right = (away, mixed) if swapped else (mixed, away)
            b.add(P.Binary(kind=kind, operand="value", swapped=swapped), left, right)  # type: ignore[arg-type]
            divisor = safe if swapped else mixed
            b.add(P.Binary(kind=kind, operand="scalar", scalar=-1.7, swapped=swapped), divisor)  # type: ignore[arg-type]
            b.add(
                P.Binary(kind=kind, operand="weight", swapped=swapped, act=("silu",)),
                divisor,
                operand=1.5 + b.draw(1, 17, 1, 1).abs(),
            )  # type: ignore[arg-type]
    b.add(P.Binary(kind="mul", operand="weight", act=("prelu",)), odd, operand=b.draw(1, 1, 1, 1), slope=b.draw(17))
    b.add(P.Binary(kind="sub", operand="value"), "image", b.conv("image", 5))
    vector = b.island("mean", "aten.mean.dim", odd, (2, 3), True)
    number = b.island("all", "aten.mean.dim", odd, (1, 2, 3), True)
    b.add(P.Binary(kind="mul", operand="vector"), odd, vector)
    b.add(P.Binary(kind="sub", operand="vector", swapped=True, act=("sigmoid",)), mixed, vector)
    b.add(P.Binary(kind="div", operand="vector", swapped=True), safe, number)
    b.add(P.Binary(kind="add", operand="vector"), wide, number)


def resampling(b: PlanBuilder) -> None:
    odd, low = b.conv("image", 17), b.conv("image", 3, (3, 3), stride=(3, 3))
    mixed = segmented(b, odd, 9)
    h, w = HEIGHT, WIDTH
    for align in (False, True):
        b.add(P.Resize(mode="bilinear", size=(10, 14), align_corners=align), low)
        b.add(P.Resize(mode="bilinear", size=(h + 5, 2 * w - 1), align_corners=align), mixed)
        b.add(P.Resize(mode="bilinear", size=(7, 8), align_corners=align), "image")
        b.add(P.Resize(mode="bilinear", size=(1, w), align_corners=align), odd)
    b.add(P.Resize(mode="bilinear", size=(7, 10), scale=(1.5, 1.45)), low)
    b.add(P.Resize(mode="bilinear", size=(15, 21), scale=(3.0, 3.0)), low)
    b.add(P.Resize(mode="nearest", size=(8, 11)), low)
    b.add(P.Resize(mode="nearest", size=(7, 9), scale=(1.4, 1.3)), low)
    b.add(P.Resize(mode="nearest", size=(h // 2, w // 2)), mixed)
    b.add(P.Resize(mode="nearest", size=(2 * h, 2 * w)), "image")
    pads = ((2, 1), (0, 3))
    b.add(P.Pad(pads=pads, value=-1.5), mixed)
    b.add(P.Pad(pads=pads, value=float("-inf")), "image")
    for mode in ("replicate", "reflect", "circular"):
        b.add(P.Pad(pads=pads, mode=mode), mixed)  # type: ignore[arg-type]
    b.add(P.Pad(pads=((4, 4), (6, 6)), mode="reflect"), low)
    b.add(P.Pad(pads=((5, 5), (7, 7)), mode="circular"), low)
    b.add(P.Pad(pads=((-1, -3), (0, -2))), odd)
    b.add(P.Pad(pads=((-2, 3), (4, -1)), value=0.5), mixed)


def views(b: PlanBuilder) -> None:
    full, half = b.conv("image", 7), b.conv("image", 6, (3, 3), stride=(3, 3))
    low = b.add(P.Cat(), half, b.add(P.Pointwise(act=("silu",)), half))
    up = b.add(P.UpsampleNearest(factor=(3, 3)), low)
    part = b.add(P.ChannelSlice(start=4, stop=9), up)
    whole = b.add(P.Cat(), part, full, up)
    middle = b.add(P.ChannelSlice(start=3, stop=20), whole)
    again = b.add(P.Cat(), middle, b.add(P.ChannelSlice(start=0, stop=1), full), middle)
    twice = b.add(P.UpsampleNearest(factor=(1, 2)), again)
    b.add(P.ChannelSlice(start=16, stop=19), twice)
    b.conv(again, 5, (3, 3), padding=((1, 1), (1, 1)))
    b.add(P.MaxPool2d(kernel=(2, 2), stride=(2, 2)), twice)
    b.add(P.Copy(), twice)


def widths(b: PlanBuilder) -> None:
    """Channels around every width of a tile, and deep sums."""
    same = ((1, 1), (1, 1))
    of = {c: b.conv("image", c, (3, 3), stride=(3, 3), padding=same) for c in (2, 31, 96, 257, 513)}
    b.conv(of[513], 31, (3, 3), padding=same, act=("silu",))
    b.conv(of[31], 513, (1, 1), act=("silu",))
    b.conv(of[257], 96, (3, 3), of[96], padding=same, act=("relu",))
    b.conv(of[96], 257, (3, 3), stride=(2, 2), padding=same)
    b.conv(of[2], 128, (3, 3), padding=((2, 2), (2, 2)), dilation=(2, 2), act=("silu",))
    b.conv(b.add(P.Cat(), of[96], of[513], of[31]), 49, (1, 1))
    b.conv(of[513], 513, (3, 3), groups=513, padding=same)
    b.add(P.MaxPool2d(kernel=(5, 5), stride=(1, 1), padding=(2, 2)), of[513])
    b.add(P.ChannelNorm(), of[257], gamma=b.draw(257), beta=b.draw(257))


GROUPS: dict[str, Callable[[PlanBuilder], None]] = {
    f.__name__: f
    for f in (convolutions, sliding, groups, transposed, pools, activations, rowwise, resampling, views, widths)
}


def images(group: str, channels: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(7)
    while True:
        image = torch.randn(1, channels, HEIGHT, WIDTH, generator=generator) * 2
        if group == "activations":
            flat = image.view(-1)
            flat[torch.randperm(flat.numel(), generator=generator)[: 40 * len(EXTREMES)]] = torch.tensor(
                EXTREMES
            ).repeat(40)
        if group == "pools":  # each in one cell
            image[0, 2, 4, 6], image[0, 0, 9, 20], image[0, 1, 14, 0] = float("nan"), float("inf"), float("-inf")
        yield image
