"""Recompute sets that travel are squares of 2 x 2 pixels, also at the borders of images of odd sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fluxshard.runtime.endpoints.quads import quad_mask, quad_pixels, quads

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(MASKS)
def test_quads_hold_the_mask_and_are_whole(mask: np.ndarray) -> None:
    found = quads(mask)
    assert found.shape == mask.shape and found[mask].all()
    for y in range(0, mask.shape[0], 2):
        for x in range(0, mask.shape[1], 2):
            assert (found[y : y + 2, x : x + 2] == mask[y : y + 2, x : x + 2].any()).all()


@given(MASKS)
def test_what_travels_is_what_is_recomputed(mask: np.ndarray) -> None:
    flagged = quad_mask(mask)
    assert flagged.shape == (-(-mask.shape[0] // 2), -(-mask.shape[1] // 2))
    assert (quad_pixels(flagged, mask.shape) == quads(mask)).all()
    assert (quad_mask(quads(mask)) == flagged).all()
