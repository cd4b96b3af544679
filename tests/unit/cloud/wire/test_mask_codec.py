"""Masks over the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.compression import compress
from fluxshard.cloud.wire.mask_codec import MaskCodec

shapes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=5).map(tuple)


@given(shapes, st.integers(0, 2**31), st.floats(0, 1))
def test_masks_come_back(shapes: tuple[tuple[int, int], ...], seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    masks = tuple(rng.random(shape) < share for shape in shapes)
    codec = MaskCodec(shapes)
    found = codec.decode(codec.encode(masks))
    assert len(found) == len(masks)
    assert all(a.dtype == np.bool_ and (a == b).all() for a, b in zip(found, masks, strict=True))


def test_nothing_to_do_takes_few_bytes() -> None:
    codec = MaskCodec(((80, 80), (40, 40), (20, 20)))
    assert len(codec.encode(tuple(np.zeros(shape, np.bool_) for shape in codec.shapes))) < 32


@given(st.binary(max_size=60))
def test_noise_is_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(WireError):
        MaskCodec(((5, 7),)).decode(data)


def test_masks_of_other_streams() -> None:
    codec = MaskCodec(((2, 3), (1, 1)))
    with pytest.raises(WireError, match="masks of"):
        codec.encode((np.zeros((2, 3), np.bool_),))
    with pytest.raises(WireError, match="beyond its last cell"):
        codec.decode(compress(b"\xff"))
    assert all(mask.all() for mask in codec.decode(compress(b"\xfe")))
