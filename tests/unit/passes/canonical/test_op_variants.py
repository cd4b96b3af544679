from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fluxshard.passes.canonical.op_variants import unify_op_variants
from tests.unit.passes.canonical.nets import Function, assert_left_alone, calls_after, nodes_after

VARIANTS: dict[str, tuple[Function, list[str]]] = {
    "chunk": (lambda m, x: x.chunk(2, 1)[1], ["slice"]),
    "split": (lambda m, x: torch.split(x, [1, 3], -3)[1], ["slice"]),
    "negative slice": (lambda m, x: x[:, -3:-1], ["slice"]),
    "crop": (lambda m, x: x[:, :, 1:-1, 2:], ["pad", "pad"]),
    "concatenate": (lambda m, x: torch.concatenate([x, x + 1], 1), ["add", "cat"]),
    "cat of one": (lambda m, x: torch.cat([x], 1) + 1, ["add"]),
    "hardtanh as relu6": (lambda m, x: F.hardtanh(x, 0, 6), ["relu6"]),
    "hardtanh": (lambda m, x: F.hardtanh(x), ["clamp"]),
    "clamp_min": (lambda m, x: x.clamp(min=0), ["relu"]),
    "rsub": (lambda m, x: torch.rsub(x, 1), ["sub"]),
    "neg": (lambda m, x: -x, ["mul"]),
    "square": (lambda m, x: x**2, ["mul"]),
    "scaled sum": (lambda m, x: torch.add(x, 2, alpha=3), ["add"]),
    "constant pad": (lambda m, x: torch.constant_pad_nd(x, [1, 2, 0, 1], 3.0), ["pad"]),
    "reflect": (lambda m, x: torch.ops.aten.reflection_pad2d(x, [1, 2, 1, 0]), ["pad"]),
    "upsample by factor": (lambda m, x: F.interpolate(x, scale_factor=2.0), ["upsample_nearest2d"]),
    "adaptive pooling by a factor": (lambda m, x: F.adaptive_avg_pool2d(x, (3, 2)), ["avg_pool2d"]),
    "convolution": (
        lambda m, x: torch.convolution(x, m.weight, m.bias, [2, 1], [1, 0], [1, 1], False, [0, 0], 1),
        ["conv2d"],
    ),
    "transposed convolution": (
        lambda m, x: torch.convolution(x, m.weight.transpose(0, 1).contiguous(), m.bias, [2], [1], [1], True, [1], 1),
        ["conv_transpose2d"],
    ),
    "same padding": (lambda m, x: F.conv2d(x, m.weight, m.bias, padding="same", dilation=2), ["conv2d"]),
    "same padding of an even kernel": (lambda m, x: F.conv2d(x, m.even, padding="same"), ["pad", "conv2d"]),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # by the model itself
@pytest.mark.parametrize("case", VARIANTS)
def test_variants_become_one_overload(case: str) -> None:
    function, expected = VARIANTS[case]
    assert calls_after(unify_op_variants, function) == expected


def test_arguments_are_carried() -> None:
    (conv,) = nodes_after(
        unify_op_variants,
        lambda m, x: torch.convolution(x, m.weight, None, [2, 1], [1, 0], [1, 2], False, [0, 0], 1),
    )
    assert conv.args[3:] == ([2, 1], [1, 0], [1, 2], 1)


def test_ends_of_slices_are_clamped_and_positive() -> None:
    (part,) = nodes_after(unify_op_variants, lambda m, x: x[:, -3:100])
    assert part.args[1:] == (1, 1, 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x[:, ::2],
        lambda m, x: torch.rsub(x, m.vector, alpha=2),
        lambda m, x: torch.clamp(x, max=m.positions),
        lambda m, x: x**3,
        lambda m, x: F.adaptive_avg_pool2d(x, (4, 3)),
        lambda m, x: F.adaptive_avg_pool2d(x, 1),
        lambda m, x: F.relu(F.conv2d(x, m.weight, m.bias)) + 1,
        lambda m, x: F.conv1d(x[0, :, 0], m.even[:, :, 0]),
    ],
    ids=["steps", "scaled difference", "clamp to a tensor", "another power", "no whole factor", "to one cell",
         "the overload itself", "one axis"],
)  # fmt: skip
def test_leaves_alone(function: Function) -> None:
    assert_left_alone(unify_op_variants, function)
