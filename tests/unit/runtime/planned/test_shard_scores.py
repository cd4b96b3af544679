"""What the image test of planned reuse is made of, by hand: pixels, scores and neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.runtime.planned.image_test import dilate, quantise, shard_scores
from fluxshard.runtime.planned.levels import FORCED, Level
from tests.unit.runtime.planned.slow_image_test import grown, level

LOW_PASS = (1, 2, 4, 8)


def _scores(difference: NDArray[np.int64], one: Level, known: NDArray[np.bool_] | None = None) -> list[list[int]]:
    """Of pixels that differ so from 128: `(C, H, W)`, or `(H, W)` for one channel."""
    if difference.ndim == 2:
        difference = difference[None]
    moved = np.full(difference.shape, 128, np.uint8)
    known = np.ones(difference.shape[1:], np.bool_) if known is None else known
    found: list[list[int]] = shard_scores((moved + difference).astype(np.uint8), moved, known, one).tolist()
    return found


@pytest.mark.parametrize(
    ("value", "pixel_range", "expected"),
    [
        (0.5, (0.0, 255.0), 0),
        (1.5, (0.0, 255.0), 2),
        (2.5, (0.0, 255.0), 2),
        (254.5, (0.0, 255.0), 254),
        (254.6, (0.0, 255.0), 255),
        (-3.0, (0.0, 255.0), 0),
        (1e30, (0.0, 255.0), 255),
        (0.5, (0.0, 1.0), 128),  # 127.5
        (1.0, (0.0, 1.0), 255),
        (-1.0, (-1.0, 1.0), 0),
        (0.0, (-1.0, 1.0), 128),
        (1 / 255, (-1.0, 1.0), 128),
    ],
)
def test_pixels_by_hand(value: float, pixel_range: tuple[float, float], expected: int) -> None:
    pixels, finite = quantise(torch.full((1, 2, 3, 4), value), pixel_range)
    assert finite and pixels.dtype == np.uint8 and pixels.shape == (2, 3, 4) and (pixels == expected).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_becomes_0_and_is_told(bad: float) -> None:
    image = torch.full((1, 1, 2, 2), 0.2)
    image[0, 0, 1, 0] = bad
    pixels, finite = quantise(image, (-1.0, 1.0))
    assert not finite and pixels.tolist() == [[[153, 153], [0, 153]]]
    assert image.isfinite().sum() == 3  # the image itself stays


@pytest.mark.parametrize(("low_pass", "score"), [(1, 103), (2, 103), (4, 103), (8, 25)])
def test_one_pixel_counts_once(low_pass: int, score: int) -> None:
    change = np.zeros((8, 16), np.int64)
    change[5, 9] = -103
    # in a block of 8x8 px a pixel is a quarter of what it is in one of 4x4, rounded down
    assert _scores(change, level(low_pass_px=low_pass)) == [[0, score]]


@pytest.mark.parametrize("low_pass", LOW_PASS)
def test_an_even_change_scores_16_times_itself(low_pass: int) -> None:
    change = np.zeros((16, 24), np.int64)
    change[8:, 8:16] = 7
    assert _scores(change, level(low_pass_px=low_pass)) == [[0, 0, 0], [0, 16 * 7, 0]]
    assert _scores(change, level(32, shard_px=24, low_pass_px=low_pass)) == [[16 * 7]]
    changed = np.full((3, 8, 8), 255, np.uint8)
    assert shard_scores(changed, changed * 0, np.ones((8, 8), np.bool_), level(low_pass_px=low_pass)) == 4080


@pytest.mark.parametrize(("low_pass", "score"), [(1, 40 + 3), (2, 40 + 3), (4, 40 + 3), (8, (43 + 30 + 12) // 4)])
def test_a_shard_takes_its_largest_block(low_pass: int, score: int) -> None:
    change = np.zeros((8, 8), np.int64)
    change[0, 0], change[3, 3] = 40, 3  # upper left
    change[4, 0], change[7, 7] = 30, 12  # lower left, lower right
    assert _scores(change, level(low_pass_px=low_pass)) == [[score]]


@pytest.mark.parametrize(
    ("at", "scores"),
    [
        ((0, 1), (90, 10, 10, 2)),  # in the same square of 2x2
        ((2, 1), (90, 90, 10, 2)),  # the same of 4x4
        ((0, 5), (50, 50, 50, 2)),  # the same of 8x8
    ],
)
def test_signs_cancel_inside_a_square_only(at: tuple[int, int], scores: tuple[int, ...]) -> None:
    change = np.zeros((8, 8), np.int64)
    change[0, 0], change[at] = 50, -40
    assert [_scores(change, level(low_pass_px=px)) for px in LOW_PASS] == [[[score]] for score in scores]


def test_of_several_channels_the_largest_counts_square_by_square() -> None:
    change = np.zeros((3, 8, 8), np.int64)
    change[0, 0, 0], change[1, 0, 0], change[2, 0, 2] = 10, -20, 5
    # at (0, 0) the second channel; at (0, 2) the third, unless both lie in one square
    assert [_scores(change, level(low_pass_px=px)) for px in LOW_PASS] == [[[25]], [[25]], [[20]], [[5]]]


# the last shards hold 8x2, 1x8 and 1x2 px; the blocks of 4x4 px in them 4x2, 1x4 and 1x2
@pytest.mark.parametrize(("low_pass", "scores"), [(1, [[128, 64], [32, 16]]), (8, [[128, 32], [16, 4]])])
def test_beyond_the_image_nothing_differs(low_pass: int, scores: list[list[int]]) -> None:
    assert _scores(np.full((9, 10), 8, np.int64), level(low_pass_px=low_pass)) == scores


def test_a_shard_with_a_pixel_without_source_is_forced() -> None:
    known = np.ones((20, 24), np.bool_)
    known[19, 16] = False
    change = np.zeros((20, 24), np.int64)
    assert _scores(change, level(), known) == [[0, 0, 0], [0, 0, 0], [0, 0, FORCED]]
    assert _scores(change, level(16, shard_px=16), known) == [[0, 0], [0, FORCED]]


@given(
    seed=st.integers(0, 2**31),
    low_pass=st.sampled_from(LOW_PASS),
)
def test_the_sign_of_a_change_does_not_matter(seed: int, low_pass: int) -> None:
    change = np.random.default_rng(seed).integers(-127, 128, (2, 12, 20))
    one = level(low_pass_px=low_pass)
    found = _scores(change, one)
    assert found == _scores(-change, one) and max(map(max, found)) <= 4080


@given(seed=st.integers(0, 2**31), times=st.integers(0, 4))
def test_dilation_adds_what_is_near(seed: int, times: int) -> None:
    mask = np.random.default_rng(seed).random((5, 7)) < 0.1
    before = mask.copy()
    assert (dilate(mask, times) == grown(mask, times)).all() and (mask == before).all()
