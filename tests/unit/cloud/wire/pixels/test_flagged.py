"""Flagged pixels, as numpy's own indexing has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.pixels.flagged import put_flagged, take_flagged
from tests.unit.cloud.wire.pictures import SIZES, masks, picture


@given(SIZES, st.integers(0, 2**31))
def test_the_same_as_a_boolean_index(size: tuple[int, int], seed: int) -> None:
    pixels = picture(size, "noise", seed)
    for mask in masks(size, seed):
        values = take_flagged(pixels, mask)
        assert (values == pixels[mask]).all() and values.shape == pixels[mask].shape
        image = picture(size, "noise", seed + 1)
        expected = image.copy()
        expected[mask] = values
        put_flagged(image, mask, values)
        assert (image == expected).all()


def test_a_part_of_a_larger_picture() -> None:
    pixels, mask = picture((20, 20), "noise", 0)[3:12, 2:9], np.ones((9, 7), np.bool_)
    assert (take_flagged(pixels, mask) == pixels.reshape(-1, 3)).all()
