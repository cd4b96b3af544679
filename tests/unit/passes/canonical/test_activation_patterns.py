from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fluxshard.passes.canonical.activation_patterns import recognise_activations
from tests.unit.passes.canonical.nets import Function, assert_left_alone, calls_after

PATTERNS: dict[str, tuple[Function, list[str]]] = {
    "silu": (lambda m, x: x * torch.sigmoid(x), ["silu"]),
    "silu, the gate first": (lambda m, x: torch.sigmoid(x) * x, ["silu"]),
    "hardsigmoid": (lambda m, x: F.relu6(x + 3) / 6, ["hardsigmoid"]),
    "hardswish": (lambda m, x: x * F.relu6(3 + x) / 6, ["hardswish"]),
    "hardswish, divided first": (lambda m, x: (F.relu6(x + 3) / 6) * x, ["hardswish"]),
    "hardswish, the other factor divided": (lambda m, x: (x / 6) * F.relu6(x + 3), ["hardswish"]),
    "hardswish of a hardtanh": (lambda m, x: x * F.hardtanh(x + 3, 0, 6) / 6, ["hardswish"]),
    "mish": (lambda m, x: torch.tanh(F.softplus(x)) * x, ["mish"]),
    "gelu": (lambda m, x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), ["gelu"]),
    "gelu, halved last": (lambda m, x: x * (1 + torch.erf(x * 2**-0.5)) * 0.5, ["gelu"]),
    "gelu, the gate halved": (lambda m, x: x * ((1 + torch.erf(x * 2**-0.5)) * 0.5), ["gelu"]),
    "one after another": (lambda m, x: (y := x * torch.sigmoid(x)) * torch.sigmoid(y), ["silu", "silu"]),
}


@pytest.mark.parametrize("case", PATTERNS)
def test_formulas_become_activations(case: str) -> None:
    function, expected = PATTERNS[case]
    assert calls_after(recognise_activations, function) == expected


def test_parts_that_something_else_reads_stay() -> None:
    calls = calls_after(recognise_activations, lambda m, x: [gate := torch.sigmoid(x), x * gate])
    assert sorted(calls) == ["sigmoid", "silu"]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x * torch.sigmoid(x + 1),
        lambda m, x: x * F.relu6(x + 2) / 6,
        lambda m, x: F.relu6(x + 3) / 5,
        lambda m, x: x * torch.tanh(F.softplus(x + 1)),
        lambda m, x: x * 0.5 * (1 + torch.erf(x)),
        lambda m, x: F.silu(x) + F.gelu(x),
    ],
    ids=["another input", "another shift", "another divisor", "another input of mish", "another scale", "named"],
)
def test_leaves_alone(function: Function) -> None:
    assert_left_alone(recognise_activations, function)
