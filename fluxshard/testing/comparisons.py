"""Comparisons of what two models return: equal structure, tensors within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def assert_same(out: object, expected: object, tolerance: float = 2e-4) -> None:
    """Asserts equal structure, equal shapes, and values that are equal within the rounding of a whole network.

    Args:
      out: what the model under test returned: tensors in any pytree.
      expected: what it should have returned.
      tolerance: largest absolute difference, relative to the largest magnitude of the expected tensor (at least 1).

    Raises:
      AssertionError: structure, a shape or a value differs. NaN equals NaN.
    """
    got, spec = pytree.tree_flatten(out)
    want, spec_expected = pytree.tree_flatten(expected)
    assert spec == spec_expected, f"structure is {spec} instead of {spec_expected}"
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape, f"shape is {tuple(a.shape)} instead of {tuple(b.shape)}"
        scale = max(1.0, float(b.abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale, equal_nan=True)


def assert_same_leaves(found: Sequence[object], expected: Sequence[object], tolerance: float) -> None:
    """Asserts that leaves of two results are equal: tensors within a tolerance, everything else exactly.

    Args:
      found: leaves of the result under test.
      expected: leaves that it should have.
      tolerance: largest difference of tensors, absolute and relative, number by number.

    Raises:
      AssertionError: the number of leaves, a type or a value differs.
    """
    assert len(found) == len(expected), f"{len(found)} leaves instead of {len(expected)}"
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, Tensor):
            assert isinstance(one, Tensor), f"{one!r} instead of a tensor"
            torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)
        else:
            assert one == other, f"{one!r} instead of {other!r}"
