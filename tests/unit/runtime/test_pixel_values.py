"""What bytes stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.runtime.pixel_values import PixelValues


def test_from_zero_to_one_they_are_what_a_division_gives() -> None:
    values, everything = PixelValues(), torch.arange(256, dtype=torch.uint8)
    assert values.table.dtype == np.float32 and values.exact
    assert np.array_equal(values.table, np.arange(256, dtype=np.float32) / np.float32(255))
    assert np.array_equal(values.table, (everything.to(torch.float32) / 255).numpy())


@pytest.mark.parametrize(("low", "high", "exact"), [(-1, 1, True), (-2.5, 70, True), (1e6, 1e6 + 1, False)])
def test_other_ranges(low: float, high: float, exact: bool) -> None:
    values = PixelValues(low, high)
    assert values.table[0] == np.float32(low) and values.table[255] == np.float32(high)
    assert (np.diff(values.table) >= 0).all() and values.exact is exact


def test_images_become_contiguous_floats() -> None:
    values = PixelValues(-1, 1)
    pixels = torch.randint(0, 256, (6, 8, 3), dtype=torch.uint8).permute(2, 0, 1)[None]
    floats = values.floats(pixels)
    assert floats.dtype == torch.float32 and floats.is_contiguous() and floats.shape == (1, 3, 6, 8)
    assert np.array_equal(floats.numpy(), values.table[pixels.numpy()])
    assert values.floats(floats) is floats


def test_the_byte_of_a_value() -> None:
    assert PixelValues().byte(114 / 255) == 114 and PixelValues(-1, 1).byte(-1) == 0
    assert PixelValues().byte(0.4) == 102 and PixelValues().byte(0.3999) is None
