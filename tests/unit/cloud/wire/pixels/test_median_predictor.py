"""The definition of median prediction: as its text says, pixel by pixel, and back again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.pixels.median_predictor import ReferenceMedianPredictor
from tests.unit.cloud.wire.pictures import KINDS, masks, picture

small = st.tuples(st.integers(1, 12), st.integers(1, 12))


def by_the_text(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[list[int]]:
    """One pixel after the other, with Python's numbers."""
    height, width = mask.shape

    def planes(y: int, x: int) -> list[int]:
        red, green, blue = (int(value) for value in pixels[y, x])
        return [green, (red - green + 128) % 256, (blue - green + 128) % 256]

    def value(plane: int, y: int, x: int) -> int | None:
        inside = 0 <= y < height and 0 <= x < width
        return planes(y, x)[plane] if inside and mask[y, x] else None

    result: list[list[int]] = [[], [], []]
    for y, x in np.argwhere(mask):
        for plane in range(3):
            west, north, corner = value(plane, y, x - 1), value(plane, y - 1, x), value(plane, y - 1, x - 1)
            if west is None and north is None:
                predicted = 128
            else:
                w = north if west is None else west
                n = west if north is None else north
                assert w is not None and n is not None
                c = n if corner is None else corner
                predicted = sorted((w, n, w + n - c))[1]
            result[plane].append((planes(y, x)[plane] - predicted) % 256)
    return result


@given(small, KINDS, st.integers(0, 2**31))
def test_residuals_are_those_of_the_text(size: tuple[int, int], kind: str, seed: int) -> None:
    pixels = picture(size, kind, seed)
    for mask in masks(size, seed):
        found = ReferenceMedianPredictor().residuals(pixels, mask)
        assert found.tolist() == by_the_text(pixels, mask) and found.dtype == np.uint8


@given(small, KINDS, st.integers(0, 2**31))
def test_pixels_come_back_and_others_are_left_alone(size: tuple[int, int], kind: str, seed: int) -> None:
    pixels, predictor = picture(size, kind, seed), ReferenceMedianPredictor()
    for mask in masks(size, seed):
        image = picture(size, "noise", seed + 1)
        expected = np.where(mask[..., None], pixels, image)
        predictor.restore(predictor.residuals(pixels, mask), mask, image)
        assert (image == expected).all()


def test_residuals_worked_out_by_hand() -> None:
    grey = np.array([[10, 20, 30], [40, 50, 0]], np.uint8)
    mask = np.array([[True, True, False], [True, True, True]])
    green, *others = ReferenceMedianPredictor().residuals(np.repeat(grey[..., None], 3, 2), mask).tolist()
    # 10 - 128; 20 - 10; 40 - 10; 50 - median(40, 20, 40 + 20 - 10); 0 - median(50, 50 for what is missing, 80)
    assert green == [138, 10, 30, 10, 206]
    assert others == [[0] * 5] * 2  # no colour, no residual
