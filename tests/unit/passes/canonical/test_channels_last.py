from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fluxshard.ops.reference import REFERENCE
from fluxshard.passes.canonical.channels_last import move_permutes
from tests.unit.passes.canonical.nets import Function, assert_left_alone, calls_after, nodes_after

BLOCKS: dict[str, tuple[Function, list[str]]] = {
    "per-cell block": (
        lambda m, x: m.back(F.gelu(m.linear(m.norm(x.permute(0, 2, 3, 1))))).mul(m.gamma).permute(0, 3, 1, 2),
        ["channel_norm", "conv2d", "gelu", "conv2d", "mul"],
    ),
    "channels last to the end": (lambda m, x: m.linear(x.permute(0, 2, 3, 1)), ["conv2d", "permute"]),
    "both operands permuted": (
        lambda m, x: (x.permute(0, 2, 3, 1) + m.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        ["channel_norm", "add"],
    ),
    "a number": (lambda m, x: (2 - x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), ["sub"]),
    "negative axes": (lambda m, x: F.relu(x.permute(0, -2, -1, 1)).permute(0, -1, 1, 2), ["relu"]),
    "nothing between": (lambda m, x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2) + 1, ["add"]),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_ops_work_in_front_of_the_permute(case: str) -> None:
    function, expected = BLOCKS[case]
    assert calls_after(move_permutes, function) == expected


def test_linear_is_a_convolution_of_one_cell() -> None:
    conv, _ = nodes_after(move_permutes, lambda m, x: m.linear(x.permute(0, 2, 3, 1)))
    assert tuple(conv.args[1].meta["val"].shape) == (8, 4, 1, 1)  # type: ignore[union-attr]
    assert tuple(conv.meta["val"].shape) == (1, 8, 6, 8)


def test_norms_keep_their_epsilon() -> None:
    norm, _ = nodes_after(move_permutes, lambda m, x: F.layer_norm(x.permute(0, 2, 3, 1), (4,), m.gamma, None, 0.25))
    assert norm.target is REFERENCE["channel_norm"] and norm.kwargs["eps"] == 0.25


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.permute(0, 2, 3, 1) + torch.relu(x.view(1, 6, 8, 4)),
        lambda m, x: F.layer_norm(x, (6, 8)),
        lambda m, x: F.layer_norm(x.permute(0, 2, 3, 1), (8, 4)),
        lambda m, x: x.permute(0, 2, 3, 1).softmax(1),
        lambda m, x: F.relu(x.permute(0, 3, 1, 2)),
        lambda m, x: x.permute(0, 2, 3, 1) * m.positions.permute(1, 2, 0),
    ],
    ids=["one operand permuted", "norm over positions", "norm over columns", "mixes rows", "another permutation",
         "varies over positions"],
)  # fmt: skip
def test_leaves_alone(function: Function) -> None:
    assert_left_alone(move_permutes, function)
