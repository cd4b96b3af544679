"""Lossless payloads: exact, and never more than the mask asks for."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.compression import compress
from fluxshard.cloud.wire.packed_payload import PackedPayload
from fluxshard.cloud.wire.pixels.median_predictor import ReferenceMedianPredictor
from tests.unit.cloud.wire.mutations import MUTATIONS, Mutation, check_refused_or_harmless, many, mutate
from tests.unit.cloud.wire.pictures import KINDS, SIZES, masks, picture

BOMB = bytes.fromhex("28b52ffde06c06060663636363")  # 13 bytes that declare a terabyte


def payload(size: tuple[int, int]) -> PackedPayload:
    return PackedPayload(*size, ReferenceMedianPredictor())


@given(size=SIZES, kind=KINDS, seed=st.integers(0, 2**31))
def test_flagged_pixels_are_exact_and_others_are_cached(size: tuple[int, int], kind: str, seed: int) -> None:
    pixels, cached, made = picture(size, kind, seed), picture(size, "noise", seed + 1), payload(size)
    before = cached.copy()
    for mask in masks(size, seed):
        data = made.encode(pixels, mask)
        found = made.decode(data, mask, cached)
        assert (found == np.where(mask[..., None], pixels, cached)).all()
        assert found.flags["WRITEABLE"] and not np.shares_memory(found, cached)
        assert bool(data) == bool(mask.any())
    assert (cached == before).all()


def test_layouts_that_are_not_contiguous() -> None:
    size = (21, 34)
    pixels, cached = (picture(size[::-1], "noise", seed).transpose(1, 0, 2) for seed in (0, 1))
    made = payload(size)
    for mask in masks(size, 3):
        flags = np.asfortranarray(mask)
        found = made.decode(made.encode(pixels, flags), flags, cached)
        assert (found == np.where(mask[..., None], pixels, cached)).all()


def test_noise_hardly_grows() -> None:
    size = (128, 256)
    data = payload(size).encode(picture(size, "noise", 0), np.ones(size, np.bool_))
    assert len(data) <= 3 * 128 * 256 + 32


@many
@given(seed=st.integers(0, 5), mutations=MUTATIONS)
def test_damage(seed: int, mutations: list[Mutation]) -> None:
    size = (33, 47)
    made, mask, cached = payload(size), masks(size, seed)[1 + seed % 5], picture(size, "noise", 9)
    data = mutate(made.encode(picture(size, "smooth", seed), mask), mutations)
    check_refused_or_harmless(lambda some: made.decode(some, mask, cached), data, mask, cached)


@many
@given(data=st.binary(max_size=100), tag=st.sampled_from([b"", b"\x01", b"\x02", b"\x02\xff\x0a"]))
def test_noise_is_an_error_of_ours(data: bytes, tag: bytes) -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[3, 4:9] = True
    with pytest.raises(WireError):
        payload((20, 20)).decode(tag + data, mask, picture((20, 20), "flat", 0))


def test_other_masks_are_refused() -> None:
    size = (40, 40)
    mask = np.zeros(size, np.bool_)
    mask[3:9, 4:20] = True  # 2 x 3 tiles: two blocks
    other = mask.copy()
    other[24:, 24:] = True
    made = payload(size)
    data = made.encode(picture(size, "smooth", 0), mask)
    with pytest.raises(WireError, match="declares another size than the 1056 bytes"):
        made.decode(data, other, picture(size, "flat", 0))


def test_bytes_for_an_empty_mask_and_none_for_another() -> None:
    made, image = payload((4, 4)), np.zeros((4, 4, 3), np.uint8)
    empty, full = np.zeros((4, 4), np.bool_), np.ones((4, 4), np.bool_)
    with pytest.raises(WireError, match="its mask asks for none"):
        made.decode(b"\x01", empty, image)
    with pytest.raises(WireError, match="coding that is not known"):
        made.decode(b"", full, image)
    assert made.encode(image, empty) == b""


def test_sizes_are_refused_before_anything_is_allocated() -> None:
    made, mask, image = payload((64, 64)), np.zeros((64, 64), np.bool_), np.zeros((64, 64, 3), np.uint8)
    mask[:8, :8] = True
    tracemalloc.start()
    try:
        for data in (BOMB, compress(bytes(1 << 26)), compress(bytes(3 * 64 + 1))):
            with pytest.raises(WireError, match="declares another size"):
                made.decode(b"\x01" + data, mask, image)
            tracemalloc.reset_peak()
            with pytest.raises(WireError):
                made.decode(b"\x01" + data, mask, image)
            assert tracemalloc.get_traced_memory()[1] - tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_sizes_that_are_not_allowed() -> None:
    with pytest.raises(WireError, match="is not allowed"):
        payload((0, 4))
    with pytest.raises(WireError, match="a mask of"):
        payload((4, 4)).encode(np.zeros((4, 4, 3), np.uint8), np.ones((4, 5), np.bool_))
    with pytest.raises(WireError, match="pixels are"):
        payload((4, 4)).decode(b"", np.ones((4, 4), np.bool_), np.zeros((4, 5, 3), np.uint8))
