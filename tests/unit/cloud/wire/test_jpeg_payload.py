"""Lossy payloads: both ends see the same pixels, and only those that were sent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import OptionError, WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.jpeg_payload import JpegPayload
from tests.unit.cloud.wire.mutations import MUTATIONS, Mutation, check_refused_or_harmless, many, mutate
from tests.unit.cloud.wire.pictures import KINDS, SIZES, masks, picture


@given(SIZES, KINDS, st.integers(0, 2**31), st.sampled_from([30, 90, 100]))
def test_both_ends_see_the_same_and_others_are_cached(
    size: tuple[int, int], kind: str, seed: int, quality: int
) -> None:
    pixels, edge, cloud = picture(size, kind, seed), JpegPayload(*size, quality), JpegPayload(*size)
    caches = [picture(size, "noise", seed + 1 + end) for end in range(2)]
    for mask in masks(size, seed):
        data = edge.encode(pixels, mask)
        seen = [end.decode(data, mask, cached) for end, cached in zip((edge, cloud), caches, strict=True)]
        assert (seen[0][mask] == seen[1][mask]).all()
        assert all((one[~mask] == cached[~mask]).all() for one, cached in zip(seen, caches, strict=True))
        assert edge.digest(seen[0], mask) == cloud.digest(seen[1], mask)
        assert bool(data) == bool(mask.any())


def test_smooth_pictures_are_about_as_they_were() -> None:
    size = (90, 130)
    pixels, made = picture(size, "smooth", 2), JpegPayload(*size)
    for mask in masks(size, 5):
        if mask.any():
            found = made.decode(made.encode(pixels, mask), mask, np.zeros_like(pixels))
            assert np.abs(found[mask].astype(int) - pixels[mask]).mean() < 5


def test_digests_tell_pixels_apart_where_they_were_sent() -> None:
    size = (16, 24)
    made, pixels, mask = JpegPayload(*size), picture(size, "noise", 0), np.zeros(size, np.bool_)
    mask[3:9, 2:11] = True
    digest = made.digest(pixels, mask)
    assert 0 <= digest < 1 << 64 and digest == made.digest(pixels.copy(), mask)
    for y, x, same in ((3, 2, False), (8, 10, False), (9, 10, True), (0, 0, True)):
        other = pixels.copy()
        other[y, x, 1] ^= 1
        assert (made.digest(other, mask) == digest) == same


@many
@given(seed=st.integers(0, 5), mutations=MUTATIONS)
def test_damage(seed: int, mutations: list[Mutation]) -> None:
    size = (33, 47)
    made, mask, cached = JpegPayload(*size), masks(size, seed)[1 + seed % 5], picture(size, "noise", 9)
    data = mutate(made.encode(picture(size, "smooth", seed), mask), mutations)
    check_refused_or_harmless(lambda some: made.decode(some, mask, cached), data, mask, cached)


@many
@given(data=st.binary(max_size=100), head=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe0"]))
def test_noise_is_an_error_of_ours(data: bytes, head: bytes) -> None:
    with pytest.raises(WireError):
        JpegPayload(8, 8).decode(head + data, np.ones((8, 8), np.bool_), np.zeros((8, 8, 3), np.uint8))


def test_other_masks_are_refused() -> None:
    size = (40, 40)
    made, mask = JpegPayload(*size), np.zeros(size, np.bool_)
    mask[:16, :16] = True
    data = made.encode(picture(size, "smooth", 0), mask)
    other = mask.copy()
    other[30, 30] = True
    with pytest.raises(WireError, match="declares another size than its mask asks for"):
        made.decode(data, other, picture(size, "flat", 0))
    with pytest.raises(WireError, match="its mask asks for none"):
        made.decode(data, np.zeros(size, np.bool_), picture(size, "flat", 0))


def test_what_is_not_allowed() -> None:
    for quality in (0, 101):
        with pytest.raises(OptionError, match="must be 1 to 100"):
            JpegPayload(8, 8, quality)
    with pytest.raises(WireError, match="is not allowed"):
        JpegPayload(8, 16385)
    with pytest.raises(WireError, match="pixels are"):
        JpegPayload(8, 8).encode(np.zeros((8, 9, 3), np.uint8), np.ones((8, 8), np.bool_))
