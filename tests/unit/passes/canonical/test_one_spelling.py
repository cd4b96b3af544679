"""The canonical passes together: whatever a model writes, the passes after them see one spelling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fluxshard.passes.canonical.constant_outputs import copy_constant_outputs
from tests.unit.passes.canonical.nets import Function, calls_after


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: F.relu_(x * 2), ["mul", "relu"]),
        (lambda m, x: F.dropout(x, 0.5, False) * torch.sigmoid(x), ["silu"]),
        (lambda m, x: x * (m.one * 2), ["mul"]),
        (lambda m, x: torch.cat([*torch.split(x, 2, 1)], 1).chunk(1, 1)[0] * 1.0, ["slice", "slice", "cat", "mul"]),
        (lambda m, x: F.hardtanh(m.linear(x.permute(0, 2, 3, 1)), 0, 6), ["conv2d", "relu6", "permute"]),
        (lambda m, x: (1 - x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), ["sub"]),
    ],
    ids=["in place", "a dropout inside a formula", "computed constants", "splits", "channels last", "reversed"],
)  # fmt: skip
def test_one_spelling(function: Function, expected: list[str]) -> None:
    assert calls_after(copy_constant_outputs, function) == expected


def test_writes_to_slices() -> None:
    def assign(y: Tensor) -> Tensor:
        half = y[:, :, :3]
        half += 1
        y[:, :, 4:] = 7.0
        return y

    found = calls_after(copy_constant_outputs, lambda m, x: assign(x * 2))
    assert not any(name.endswith("_") for name in found) and "slice_scatter" in found
