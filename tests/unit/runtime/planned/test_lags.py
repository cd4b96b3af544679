"""Lags: content moves by single pixels, and features by whole cells of what adds up."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.motion import MotionField, cells
from fluxshard.options import OBJECT, PlannedOptions
from fluxshard.runtime.level_motion import LevelMotion, motion_of
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.lags import no_lags, step
from fluxshard.runtime.planned.levels import Level, moves_in_pixels
from fluxshard.runtime.planned.proposal import ShardProposal
from tests.unit.runtime.planned.slow_image_test import grids_of, level, picture

SIZE = (96, 128)
SCENE = np.random.default_rng(0).integers(0, 256, (1, SIZE[0] + 128, SIZE[1] + 128))


def _seen(dy: int = 0, dx: int = 0) -> Tensor:
    """The scene after it has moved down by dy and right by dx."""
    top, left = 64 - dy, 64 - dx
    return picture(SCENE[:, top : top + SIZE[0], left : left + SIZE[1]])


def _test(one: Level, **options: Any) -> ReferenceImageTest:
    """A stream whose thresholds say what is recomputed, and nothing else does. All of it is away from objects."""
    grids = grids_of(SIZE, [one])
    nothing = PlannedOptions(wait_frames=0, refresh_frames=0, margin_px=0, hold_frames=250)
    test = ReferenceImageTest(grids[0], [one], grids, replace(nothing, **options))
    test.keyframe(_seen())
    test.focus(np.zeros((SIZE[0] // 8, SIZE[1] // 8), np.uint8))
    return test


def _decide(test: ReferenceImageTest, image: Tensor, motion: MotionField | None) -> ShardProposal:
    proposal = test.propose(image, motion)
    assert proposal is not None
    test.commit(proposal)
    return proposal


def _features(proposal: ShardProposal) -> NDArray[np.int16] | None:
    """What the level's features move by; None where that is as the hint says."""
    field = motion_of(proposal.motion, 1)
    return None if field is None else field.displacement


def _level(stride: int, **given: int) -> Level:
    return level(
        stride, **{"shard_px": 8 if stride == 8 else 16, "tau": 0, "tau_background": 0, "tau_waiting": 0, **given}
    )


@pytest.mark.parametrize(
    ("stride", "expected"),
    [(4, False), (7, False), (8, True), (12, True), (16, True), (17, False), (32, False), (Fraction(17, 2), False)],
)
def test_strides_at_which_content_moves_by_single_pixels(stride: Fraction, expected: bool) -> None:
    assert moves_in_pixels((Fraction(stride), Fraction(stride))) == expected
    assert not moves_in_pixels((Fraction(stride), Fraction(4)))
    assert level(stride).in_pixels == expected


def test_steps_by_hand() -> None:
    """One axis of stride 8: half a feature is a step up, and no step down."""
    for lag, moved, features, left in (
        (0, 3, 0, 3), (0, 4, 8, -4), (0, -4, 0, -4), (0, -5, -8, 3), (3, 1, 8, -4), (-4, -1, -8, 3), (3, 21, 24, 0),
    ):  # fmt: skip
        one = level(8)
        content, lags = no_lags(SIZE), no_lags(SIZE)
        content[..., 1], lags[..., 1] = moved, lag
        found = step(content, lags, one, grids_of(SIZE, [one])[1], SIZE)
        assert (found.features == [0, features]).all() and (found.lags == [0, left]).all()


@given(
    stride=st.tuples(st.integers(8, 16), st.integers(8, 16)),
    seed=st.integers(0, 2**31),
    spread=st.sampled_from((1, 5, 40, 30_000)),
)
def test_lags_are_at_most_half_a_feature(stride: tuple[int, int], seed: int, spread: int) -> None:
    """Nothing is lost either: what content has moved by is what features have, and the lag."""
    rng = np.random.default_rng(seed)
    one = level((Fraction(stride[0]), Fraction(stride[1])))
    grid, lags = grids_of(SIZE, [one])[1], no_lags(SIZE)
    for _ in range(4):
        content = rng.integers(-spread, spread + 1, lags.shape)
        found = step(content, lags, one, grid, SIZE)
        assert not (found.features % stride).any()
        assert (2 * found.lags >= -np.array(stride)).all() and (2 * found.lags < stride).all()
        still = step(np.zeros_like(content), lags, one, grid, SIZE)
        assert not still.features.any() and set(map(tuple, still.lags.reshape(-1, 2))) <= set(
            map(tuple, lags.reshape(-1, 2))
        )
        lags = found.lags


def test_cells_of_one_feature_move_as_one() -> None:
    rng = np.random.default_rng(0)
    one, lags = level(16), rng.integers(-8, 8, (12, 16, 2))
    content = rng.integers(-9, 10, (6, 8, 2)).repeat(2, 0).repeat(2, 1)
    found = step(content, lags, one, Grid(6, 8, Fraction(16), Fraction(16)), SIZE)
    for values in (found.features, found.lags):
        assert (values == values[::2, ::2].repeat(2, 0).repeat(2, 1)).all()


@pytest.mark.parametrize("candidates", [True, False])
@pytest.mark.parametrize("stride", [8, 16])
@given(direction=st.sampled_from([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1)]))
@settings(max_examples=6, deadline=None)
def test_a_slow_pan_recomputes_nothing_but_borders(stride: int, candidates: bool, direction: tuple[int, int]) -> None:
    """One pixel a frame, of noise, at thresholds of zero; features step every `stride` frames."""
    test = _test(_level(stride), candidates=candidates)
    dy, dx = direction
    steps = []
    for frame in range(1, 2 * stride + 1):
        proposal = _decide(test, _seen(dy * frame, dx * frame), MotionField.uniform(*SIZE, dy, dx))
        mask = proposal.shards[0]
        assert not mask[3:-3, 3:-3].any(), frame
        moved = _features(proposal)
        middle = np.zeros(2, np.int64) if moved is None else moved[SIZE[0] // 16, SIZE[1] // 16]
        steps.append(tuple(middle.tolist()))
        assert moved is None or not (moved % stride).any()
    whole = [step for step in steps if step != (0, 0)]
    assert len(whole) == 2 if 0 in direction else len(whole) >= 2
    assert np.sum(steps, 0).tolist() == [2 * stride * dy, 2 * stride * dx]


def test_near_objects_only_what_looks_alike_from_both_places_lags() -> None:
    """Noise that moves by a pixel is another picture where the features stand; a flat wall is not."""
    for flat, share in ((False, 1.0), (True, 0.0)):
        test = _test(_level(8, tau=100, tau_background=100))
        still, moved = (picture(np.full((1, *SIZE), 90)),) * 2 if flat else (_seen(), _seen(0, 1))
        test.keyframe(still)
        regions = np.zeros((12, 16), np.uint8)
        regions[4:8, 4:8] = OBJECT
        test.focus(regions)
        mask = _decide(test, moved, MotionField.uniform(*SIZE, 0, 1)).shards[0]
        inner = mask[4:8, 5:8]  # regions move along; what is right of them is near as well
        assert inner.mean() == share and not mask[:4, 1:].any() and not mask[9:, 1:].any()


def test_without_regions_all_is_near_an_object() -> None:
    one = _level(8, tau=100)
    grids = grids_of(SIZE, [one])
    test = ReferenceImageTest(grids[0], [one], grids, PlannedOptions(wait_frames=0, refresh_frames=0))
    test.keyframe(_seen())
    assert _decide(test, _seen(0, 1), MotionField.uniform(*SIZE, 0, 1)).shards[0].all()


def test_a_shard_finds_what_is_a_pixel_from_its_hint() -> None:
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            test = _test(_level(8))
            motion = MotionField.uniform(*SIZE, 12, 20)
            mask = _decide(test, _seen(12 + dy, 20 + dx), motion).shards[0]
            assert not mask[3:, 4:].any()
    assert _decide(_test(_level(8)), _seen(14, 20), MotionField.uniform(*SIZE, 12, 20)).shards[0].all()


def test_what_stands_still_keeps_its_lag() -> None:
    """Three pixels, a pause without motion, and one more pixel: half a feature."""
    test = _test(_level(8))
    pan = MotionField.uniform(*SIZE, 0, 3)
    assert _features(_decide(test, _seen(0, 3), pan)) is None
    for motion in (None, MotionField.zero(*SIZE)):
        proposal = _decide(test, _seen(0, 3), motion)
        assert proposal.motion is None and not proposal.shards[0].any()
    moved = _features(_decide(test, _seen(0, 4), MotionField.uniform(*SIZE, 0, 1)))
    assert moved is not None and moved[6, 8].tolist() == [0, 8]


def test_what_is_recomputed_and_what_a_keyframe_takes_does_not_lag() -> None:
    for renew in ("keyframe", "recomputed"):
        test = _test(_level(8))
        _decide(test, _seen(0, 3), MotionField.uniform(*SIZE, 0, 3))
        if renew == "keyframe":
            test.keyframe(_seen(0, 3))
        else:
            assert _decide(test, _seen(40, 40), None).shards[0].all()
            assert _decide(test, _seen(0, 3), None).shards[0].all()
        assert _features(_decide(test, _seen(0, 4), MotionField.uniform(*SIZE, 0, 1))) is None


def test_the_image_moves_by_pixels_where_the_finest_level_does() -> None:
    """A vector that is a pixel off: the image takes what the content of the finest level moves by."""
    proposal = _decide(_test(_level(8)), _seen(0, 3), MotionField.uniform(*SIZE, 0, 2))
    assert isinstance(proposal.motion, LevelMotion)
    assert proposal.motion.image.displacement[6, 8].tolist() == [0, 3]
    assert proposal.motion.levels[0].displacement[6, 8].tolist() == [0, 0]
    assert proposal.motion.image.valid.shape == (cells(SIZE[0], 8), cells(SIZE[1], 8))
