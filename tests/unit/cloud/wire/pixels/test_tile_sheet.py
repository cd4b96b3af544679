"""Sheets of tiles: what is flagged is on them, and comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.pixels.tile_sheet import TileSheet
from tests.unit.cloud.wire.pictures import SIZES, masks, picture


@given(SIZES, st.integers(0, 2**31), st.integers(1, 5))
def test_flagged_pixels_come_back_and_others_are_cached(size: tuple[int, int], seed: int, columns: int) -> None:
    pixels, cached = picture(size, "noise", seed), picture(size, "noise", seed + 1)
    for mask in masks(size, seed):
        if not mask.any():
            continue
        sheet = TileSheet.of(mask, columns)
        packed = sheet.pack(pixels)
        assert packed.shape == (*sheet.shape, 3) and packed.flags["C_CONTIGUOUS"]
        found = sheet.unpack(packed.copy(), mask, cached)
        assert (found == np.where(mask[..., None], pixels, cached)).all()


@given(SIZES, st.integers(0, 2**31), st.integers(1, 5))
def test_a_sheet_is_no_larger_than_its_tiles(size: tuple[int, int], seed: int, columns: int) -> None:
    for mask in masks(size, seed):
        if not mask.any() or mask.all():
            continue
        sheet = TileSheet.of(mask, columns)
        y, x = np.nonzero(mask)
        blocks = -(-len(set(zip((y // 8).tolist(), (x // 8).tolist(), strict=True))) // 4)
        height, width = sheet.shape
        across = min(blocks, columns)
        assert (height, width) == (16 * -(-blocks // across), 16 * across)


def test_a_keyframe_is_its_own_sheet() -> None:
    pixels, mask = picture((33, 47), "noise", 0), np.ones((33, 47), np.bool_)
    sheet = TileSheet.of(mask, 3)
    assert sheet.shape == (33, 47) and (sheet.pack(pixels) == pixels).all()


def test_whole_blocks_come_first_and_what_is_left_is_grey() -> None:
    y, x = np.mgrid[:32, :48]
    tiles = (10 * (y // 8) + x // 8).astype(np.uint8)  # every tile has a number
    mask = np.zeros((32, 48), np.bool_)
    mask[3, 12] = True  # tile 1
    mask[16:32, 16:32] = True  # tiles 22, 23, 32 and 33: a whole block
    mask[31, 47] = True  # tile 35
    sheet = TileSheet.of(mask, 9)
    packed = sheet.pack(np.repeat(tiles[..., None], 3, 2))[::8, ::8, 0]
    assert packed.tolist() == [[22, 23, 1, 35], [32, 33, 128, 128]]


def test_tiles_at_the_border_are_continued() -> None:
    pixels, mask = picture((9, 10), "noise", 0), np.zeros((9, 10), np.bool_)
    mask[8, 9] = True
    packed = TileSheet.of(mask, 1).pack(pixels)
    assert (packed[:8, :8] == pixels[8, [8, *[9] * 7]]).all()


def test_views_of_any_layout() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[2:9, 4:30:3] = True
    pixels, cached = (picture((30, 20), "noise", seed).transpose(1, 0, 2) for seed in (0, 1))
    for flags in (mask, np.asfortranarray(mask)):
        sheet = TileSheet.of(flags, 4)
        found = sheet.unpack(sheet.pack(pixels), flags, cached)
        assert (found == np.where(mask[..., None], pixels, cached)).all()
