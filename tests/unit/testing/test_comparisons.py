"""Comparisons fail where they have to."""

from __future__ import annotations

import pytest
import torch

from fluxshard.testing import assert_same, assert_same_leaves

NAN = float("nan")


def test_equal_within_the_tolerance() -> None:
    one = {"a": torch.tensor([100.0, NAN]), "b": [torch.zeros(2)]}
    other = {"a": torch.tensor([100.0, NAN]), "b": [torch.full((2,), 1e-4)]}
    assert_same(one, other)
    assert_same({"a": torch.tensor([float("inf"), 1.0])}, {"a": torch.tensor([float("inf"), 1.0])})
    assert_same_leaves([torch.zeros(2), 3, None], [torch.full((2,), 1e-4), 3, None], 1e-3)


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        ([torch.zeros(2)], (torch.zeros(2),), "structure"),
        (torch.zeros(2), torch.zeros(2, 1), "shape"),
        (torch.zeros(2), torch.tensor([0.0, 1e-3]), "close"),
        (torch.tensor([NAN]), torch.zeros(1), "close"),
    ],
)
def test_different_results(found: object, expected: object, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_same(found, expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([torch.zeros(1)], [torch.zeros(1), 1]),
        ([1], [2]),
        ([0], [torch.zeros(1)]),
        ([torch.zeros(1)], [torch.ones(1)]),
    ],
)
def test_different_leaves(found: list[object], expected: list[object]) -> None:
    with pytest.raises(AssertionError):
        assert_same_leaves(found, expected, 1e-3)
