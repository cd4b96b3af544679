"""Answers as bytes: bit for bit what the network returned, or an error."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves

from fluxshard.cloud.wire.answer_codec import _TYPES, OutputsCodec
from fluxshard.errors import WireError
from fluxshard.ir.plan import Output
from fluxshard.testing.fake_engine import IMAGE, MEAN, mean_plan

PLAN = mean_plan((16, 24), 3)


def test_bits_are_kept() -> None:
    values = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45]).repeat(3).reshape(1, 3, 2, 3)
    codec = OutputsCodec(PLAN)
    (found,) = codec.decode(codec.encode({"any": [values]}))
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found.view(torch.int32), values.view(torch.int32))
    found += 1  # it is the caller's


@pytest.mark.parametrize("kind", _TYPES)
def test_every_type(kind: torch.dtype) -> None:
    codec = OutputsCodec(PLAN)
    values = torch.arange(18).reshape(1, 3, 2, 3).to(kind)
    data = codec.encode(values)
    (found,) = codec.decode(data)
    assert isinstance(found, torch.Tensor)
    assert found.dtype == kind and torch.equal(found, values) and len(data) <= codec.max_bytes


def test_literals_come_from_the_plan_and_order_is_kept() -> None:
    plan = mean_plan((16, 24), 3)
    object.__setattr__(plan, "outputs", (Output(literal=7), Output(value=MEAN), Output(value=IMAGE)))
    codec = OutputsCodec(plan)
    mean, image = torch.rand(1, 3, 2, 3), torch.rand(1, 3, 16, 24)
    found = codec.decode(codec.encode((7, mean, image)))
    assert found[0] == 7 and torch.equal(found[1], mean) and torch.equal(found[2], image)  # type: ignore[arg-type]


def test_not_contiguous_outputs() -> None:
    codec = OutputsCodec(PLAN)
    values = torch.rand(1, 3, 3, 2).transpose(2, 3)
    (found,) = codec.decode(codec.encode(values))
    assert torch.equal(found, values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "outputs", [torch.zeros(1, 3, 2, 4), (), (torch.zeros(1, 3, 2, 3),) * 2, torch.zeros(1, 3, 2, 3).to(torch.cfloat)]
)
def test_outputs_of_another_network(outputs: object) -> None:
    with pytest.raises(WireError, match="not those of this plan"):
        OutputsCodec(PLAN).encode(outputs)


@given(st.binary(max_size=200))
def test_anything_else_is_an_error_of_ours(data: bytes) -> None:
    codec = OutputsCodec(PLAN)
    try:
        found = codec.decode(data)
    except WireError:
        return
    assert [tuple(leaf.shape) for leaf in tree_leaves(found)] == [(1, 3, 2, 3)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is damaged"),
        (bytes([len(_TYPES)]) + bytes(72), "is damaged"),
        (bytes([_TYPES.index(torch.bool)]) + b"\x02" * 18, "is damaged"),
        (bytes(1 + 71), "another size"),
        (bytes(1 + 73), "another size"),
    ],
)
def test_answers_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        OutputsCodec(PLAN).decode(data)
