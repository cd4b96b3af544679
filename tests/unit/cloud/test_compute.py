"""What computes on an endpoint, and when two of them compute the same bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import fluxshard
from fluxshard.cloud.compute import Compute, compute_of
from fluxshard.options import CompileOptions
from fluxshard.testing.networks import TwoStrides

MINE = Compute(backend="cpp", dtype="float32", isa="avx2", device="this CPU", version="0.1 torch 2.8")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"device": "another CPU"}, True),
        ({"version": "0.1 torch 2.9"}, True),
        ({"version": "0.2 torch 2.8"}, False),
        ({"backend": "cuda"}, False),
        ({"dtype": "float16"}, False),
        ({"isa": "avx512"}, False),
    ],
)
def test_the_same_bits(change: dict[str, str], same: bool) -> None:
    other = replace(MINE, **change)
    assert MINE.same_bits(other) is same and other.same_bits(MINE) is same


@pytest.mark.requires_compiler
@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_of_a_model(backend: str) -> None:
    options = CompileOptions(backend=backend, isa="portable")  # type: ignore[arg-type]
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 16), options=options)
    found = compute_of(model)
    assert (found.backend, found.dtype) == (backend, "float32")
    assert found.isa == ("torch" if backend == "reference" else "portable")
    assert found.device and found.version == f"{fluxshard.__version__} torch {torch.__version__}"
