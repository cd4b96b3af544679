"""The paper's payload: whole quads of pixels, as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.runtime.endpoints.quads import quad_mask, quads

sizes = st.tuples(st.integers(1, 33), st.integers(1, 33))


@given(sizes, st.integers(0, 2**31), st.floats(0, 1))
def test_flagged_pixels_are_new_and_others_are_cached(size: tuple[int, int], seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pixels, cached = (rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2))
    asked = rng.random(size) < share
    mask = quads(asked)
    payload = RawPayload(*size)
    data = payload.encode(pixels, mask)
    found = payload.decode(data, mask, cached)
    assert len(data) == 3 * mask.sum()
    assert (found[mask] == pixels[mask]).all() and (found[~mask] == cached[~mask]).all()
    assert found is not cached


@given(sizes, st.integers(0, 2**31))
def test_quads_are_whole_and_cover_what_was_asked(size: tuple[int, int], seed: int) -> None:
    asked = np.random.default_rng(seed).random(size) < 0.1
    mask = quads(asked)
    assert (mask | ~asked).all() and (quads(mask) == mask).all()
    height, width = size
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            quad = slice(y, y + 2), slice(x, x + 2)
            assert mask[quad].all() == asked[quad].any() == quad_mask(asked)[y // 2, x // 2]


def test_other_sizes_are_refused() -> None:
    payload, mask = RawPayload(4, 6), np.ones((4, 6), np.bool_)
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(WireError, match="its mask asks for 72"):
        payload.decode(bytes(71), mask, image)
    with pytest.raises(WireError, match=r"a mask of \(4, 5\) bool was given"):
        payload.encode(image, mask[:, :5])
    with pytest.raises(WireError, match="float32; this stream has"):
        payload.encode(image.astype(np.float32), mask)
