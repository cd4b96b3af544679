"""Weights as bytes: every number, and its place in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fluxshard.errors import OptionError
from fluxshard.saved.weights import array_of, tensor_of

BASE = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) - 7.25


@pytest.mark.parametrize(
    "tensor",
    [
        BASE,
        BASE.permute(2, 0, 1),
        BASE[0].t(),
        BASE.reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        BASE[:, 1:, ::2],
        BASE[:1].expand(5, 3, 4),
        torch.tensor(3.5),
        torch.zeros(0, 4),
        torch.tensor([True, False]),
        torch.arange(5),
        BASE.to(torch.bfloat16),
        BASE.half(),
        BASE.double(),
        torch.tensor([1 + 2j]),
        torch.tensor([float("nan"), float("inf"), -0.0]),
    ],
)
def test_round_trip(tensor: Tensor) -> None:
    found = tensor_of(array_of("w", tensor))
    assert found.dtype == tensor.dtype and found.shape == tensor.shape
    assert torch.equal(
        found.contiguous().reshape(-1).view(torch.uint8), tensor.contiguous().reshape(-1).view(torch.uint8)
    )
    permuted = tensor.dim() and tensor.permute(sorted(range(tensor.dim()), key=lambda a: -tensor.stride(a)))
    if not isinstance(permuted, int) and permuted.is_contiguous():
        assert found.stride() == tensor.stride()  # a product can depend on it in the last bit


def test_a_dtype_that_a_file_cannot_hold() -> None:
    with pytest.raises(OptionError, match="weight w is float8"):
        array_of("w", torch.zeros(2).to(torch.float8_e4m3fn))
