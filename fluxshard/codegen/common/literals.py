"""Numbers as C++ literals of exactly their float32 value, and activations as enumerators."""

from __future__ import annotations

import numpy as np

from fluxshard.ir import params as P

# activation -> enumerator of it in generated code
ACTIVATION_NAMES = {
    "relu": "RELU", "relu6": "RELU6", "silu": "SILU", "hardswish": "HARDSWISH", "hardsigmoid": "HARDSIGMOID",
    "gelu": "GELU", "gelu_tanh": "GELU_TANH", "sigmoid": "SIGMOID", "tanh": "TANH", "mish": "MISH", "prelu": "PRELU",
    "leaky_relu": "LEAKY_RELU", "elu": "ELU", "clamp": "CLAMP",
}  # fmt: skip


def activation_numbers(act: P.Activation | None) -> tuple[str, str]:
    """Both numbers of an activation as literals; 0 where it has fewer."""
    numbers = [literal(float(x)) for x in (act[1:] if act else ())]
    first, second, *_ = [*numbers, "0", "0"]
    return first, second


def literal(value: float) -> str:
    """A float32 literal of exactly this value."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, as it is in a float32 tensor
        number = float(np.float32(value))
    if np.isnan(number):
        return "NAN"
    if np.isinf(number):
        return "-INFINITY" if number < 0 else "INFINITY"
    return f"{number.hex()}f"
