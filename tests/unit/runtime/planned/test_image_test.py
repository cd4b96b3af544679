"""The image test of planned reuse by hand: what moves, and what becomes of a stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField
from fluxshard.options import SMALL_OBJECT, PlannedOptions
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.levels import Level
from tests.unit.runtime.planned.slow_image_test import grids_of, grown, level, picture

SIZE = (24, 40)  # 3x5 cells of 8 px


def _flat(value: float, size: tuple[int, int] = SIZE) -> Tensor:
    return picture(np.full((1, *size), value, np.int64))


def _test(one: Level, size: tuple[int, int] = SIZE, **options: Any) -> ReferenceImageTest:
    """A stream that recomputes for no reason but those given."""
    grids = grids_of(size, [one])
    nothing = PlannedOptions(wait_frames=0, refresh_frames=0, margin_px=0, candidates=False)
    return ReferenceImageTest(grids[0], [one], grids, replace(nothing, **options))


def _decide(test: ReferenceImageTest, image: Tensor, motion: MotionField | None = None) -> NDArray[np.bool_]:
    proposal = test.propose(image, motion)
    assert proposal is not None
    test.commit(proposal)
    (mask,) = proposal.shards
    return mask


@pytest.mark.parametrize(
    ("motion", "forced"),
    [
        ((8, 0), np.s_[:1]),  # what moves down leaves the upper border without a source
        ((-8, 0), np.s_[2:]),
        ((0, 8), np.s_[:, :1]),
        ((0, -16), np.s_[:, 3:]),
    ],
)
@pytest.mark.parametrize("stride", [4, 8])
def test_shards_without_source_are_recomputed(motion: tuple[int, int], forced: slice, stride: int) -> None:
    test = _test(level(stride))
    test.keyframe(_flat(9))
    expected = np.zeros((3, 5), np.bool_)
    expected[forced] = True
    assert (_decide(test, _flat(9), MotionField.uniform(*SIZE, *motion)) == expected).all()


@pytest.mark.parametrize(("stride", "motion"), [(4, 1), (32, 15)])
def test_less_than_half_a_feature_leaves_all_in_place(stride: int, motion: int) -> None:
    test = _test(level(stride, shard_px=8))
    test.keyframe(_flat(9))
    assert not _decide(test, _flat(9), MotionField.uniform(*SIZE, motion, motion)).any()


def test_shards_of_invalid_motion_are_recomputed() -> None:
    test = _test(level(16, shard_px=16), (32, 48))
    test.keyframe(_flat(9, (32, 48)))
    valid = np.ones((4, 6), np.bool_)
    valid[3, 1] = False  # read for the feature at pixels 16..32 x 0..16
    valid[0, 4] = False  # read for none: centres are in odd cells
    found = _decide(test, _flat(9, (32, 48)), MotionField(np.zeros((4, 6, 2), np.int64), valid))
    assert found.tolist() == [[False] * 3, [True, False, False]]


def test_nan_changes_nothing() -> None:
    test = _test(level(tau=40))
    test.keyframe(_flat(10))
    broken = _flat(200)
    broken[0, 0, 3, 3] = float("nan")
    assert test.propose(broken, MotionField.uniform(*SIZE, 8, 8)) is None
    assert not _decide(test, _flat(12)).any()  # compared with 10, in place
    assert not test.keyframe(broken)


def test_slow_drift_adds_up_until_it_is_seen() -> None:
    """Steps of 1 score 16 each; what is not recomputed goes on standing for the old pixels."""
    test = _test(level(tau=40))
    test.keyframe(_flat(100))
    found = [_decide(test, _flat(100 + step)) for step in range(1, 10)]
    assert [mask.all() for mask in found] == [False, False, True] * 3
    assert [mask.any() for mask in found] == [False, False, True] * 3


def test_drift_is_seen_in_moving_pictures_too() -> None:
    """A picture that pans by whole cells and brightens: old pixels go along, from shard to shard."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 200, (1, 24, 40 + 64))
    test = _test(level(tau=40))
    test.keyframe(picture(scene[..., :40]))
    for step in range(1, 7):
        at = 8 * step
        mask = _decide(test, picture(scene[..., at : at + 40] + step), MotionField.uniform(*SIZE, 0, -8))
        assert mask[:, 4].all()  # new in this frame
        # the others came 4, 3, 2 and 1 frames ago, or with the keyframe: what came 3 frames ago differs by 3
        assert mask[:, :4].tolist() == [[min(frames, step) == 3 for frames in (4, 3, 2, 1)]] * 3


def test_a_step_is_compared_with_the_last_update_only() -> None:
    test = _test(level(tau=40))
    test.keyframe(_flat(100))
    assert _decide(test, _flat(103)).all()
    assert not _decide(test, _flat(105)).any()  # 2 from 103
    assert _decide(test, _flat(100)).all()  # 3 from 103: going back is a change as well


def test_a_threshold_is_not_reached_by_its_own_score() -> None:
    for tau, expected in ((31, True), (32, False)):
        test = _test(level(tau=tau))
        test.keyframe(_flat(100))
        assert _decide(test, _flat(102)).all() == expected


def test_dilated_shards_are_up_to_date_as_well() -> None:
    test = _test(level(tau=40, dilation=1))
    test.keyframe(_flat(100))
    image = np.full((1, *SIZE), 102)
    image[0, 8:16, 0:8] = 110
    mask = _decide(test, picture(image))
    assert mask.tolist() == [[True, True, False, False, False]] * 3
    image += 1
    # 3 from the keyframe, 1 from the update; column 1 is a neighbour of what is recomputed
    assert _decide(test, picture(image)).tolist() == [[False, True, True, True, True]] * 3


@given(frames=st.integers(1, 12), shard=st.sampled_from((8, 16)))
def test_refresh_takes_every_shard_once_in_so_many_frames(frames: int, shard: int) -> None:
    size = (48, 80)
    test = _test(level(16, shard_px=shard), size, refresh_frames=frames)
    test.keyframe(_flat(50, size))
    found = np.array([_decide(test, _flat(50, size)) for _ in range(3 * frames)])
    for start in range(2 * frames + 1):
        assert (found[start : start + frames].sum(0) == 1).all()
    if frames > 1:
        assert not found.all((1, 2)).any() and found.mean((1, 2)).max() < 0.6


def test_without_refresh_a_still_scene_costs_nothing() -> None:
    test = _test(level(tau=0, tau_waiting=0), wait_frames=2)
    test.keyframe(_flat(50))
    assert not any(_decide(test, _flat(50)).any() for _ in range(300))


def test_what_was_just_recomputed_is_young_again() -> None:
    test = _test(level(tau=40), refresh_frames=250)
    test.keyframe(_flat(50))
    assert _decide(test, _flat(60)).all()  # ages differ from shard to shard until here
    assert [_decide(test, _flat(60)).any() for _ in range(250)] == [False] * 249 + [True]


@pytest.mark.parametrize("frames", [1, 3, 6])
def test_moderate_changes_wait(frames: int) -> None:
    test = _test(level(tau=200, tau_waiting=50), wait_frames=frames)
    test.keyframe(_flat(100))
    assert _decide(test, _flat(130)).all()  # 480 does not wait
    found = [_decide(test, _flat(135)) for _ in range(frames + 4)]  # 80
    assert [mask.any() for mask in found] == [age == frames for age in range(1, frames + 5)]
    assert found[frames - 1].all()
    assert not any(_decide(test, _flat(138)).any() for _ in range(frames + 1))  # 48: too little to wait for
    assert _decide(test, _flat(139)).all()  # 64, and old enough by now


@given(frames=st.integers(2, 10))
def test_what_waits_after_a_keyframe_is_spread_over_time(frames: int) -> None:
    test = _test(level(tau=200, tau_waiting=50), wait_frames=frames)
    test.keyframe(_flat(100))
    found = np.array([_decide(test, _flat(105)) for _ in range(frames + 3)])
    assert (found[:frames].sum(0) == 1).all() and not found[frames:].any()
    assert not found.all((1, 2)).any()


def test_ages_move_along() -> None:
    """The right part is recomputed; it moves to the left, and what follows it is younger."""
    test = _test(level(tau=200, tau_waiting=50), wait_frames=3)
    test.keyframe(_flat(50))
    assert _decide(test, _flat(100)).all()
    image = np.full((1, *SIZE), 100)
    image[..., 24:] = 120
    assert _decide(test, picture(image)).tolist() == [[False, False, False, True, True]] * 3
    moved = np.full((1, *SIZE), 100)
    moved[..., 16:] = 120
    pan = MotionField.uniform(*SIZE, 0, -8)
    assert _decide(test, picture(moved), pan).tolist() == [[False] * 4 + [True]] * 3
    # everything changes moderately: columns 0 and 1 are 3 old, 2 and 3 are 2 old, the last is 1 old
    assert _decide(test, picture(moved + 5)).tolist() == [[True, True, False, False, False]] * 3
    assert _decide(test, picture(moved + 5)).tolist() == [[False, False, True, True, False]] * 3


def _near(test: ReferenceImageTest, frame: int, motion: MotionField | None = None) -> NDArray[np.bool_]:
    """What is recomputed of a picture that flickers by 5: less than the background's threshold."""
    return _decide(test, _flat(100 + 5 * (frame % 2)), motion)


FLICKER = level(tau=50, tau_background=200, tau_small=50)


def test_regions_end_after_hold_frames() -> None:
    test = _test(FLICKER, hold_frames=3)
    test.keyframe(_flat(100))
    assert _near(test, 1).all()  # as long as there are no regions, all of the image is near
    regions = np.zeros((3, 5), np.uint8)
    regions[1, 2] = 1
    test.focus(regions)
    found = [_near(test, frame) for frame in range(2, 8)]
    assert [mask.tolist() == regions.astype(np.bool_).tolist() for mask in found[:3]] == [True] * 3
    assert not np.any(found[3:])
    test.focus(regions)
    test.focus(np.zeros((3, 5), np.uint8))  # a region that is no longer found is held
    assert _near(test, 9)[1, 2]


def test_regions_move_along() -> None:
    test = _test(
        level(32, shard_px=8, tau=50, tau_background=200), hold_frames=9
    )  # less than half a cell: no shard moves
    test.keyframe(_flat(100))
    regions = np.zeros((3, 5), np.uint8)
    regions[1, 2] = 1
    test.focus(regions)
    assert np.argwhere(_near(test, 1, MotionField.uniform(*SIZE, 0, 8))).tolist() == [[1, 3]]
    assert np.argwhere(_near(test, 1, MotionField.uniform(*SIZE, 8, -8))).tolist() == [[2, 2]]
    assert np.argwhere(_near(test, 2)).tolist() == [[2, 2]]  # the other one was up to date with frame 1 as well


def test_regions_have_a_margin() -> None:
    for margin, reach in ((0, 0), (1, 1), (8, 1), (9, 2)):
        test = _test(FLICKER, hold_frames=1, margin_px=margin)
        test.keyframe(_flat(100))
        regions = np.zeros((3, 5), np.uint8)
        regions[0, 0] = 1
        test.focus(regions)
        assert (_near(test, 1) == grown(regions.astype(np.bool_), reach)).all()


def test_a_shard_is_near_where_any_of_its_cells_is() -> None:
    test = _test(level(16, shard_px=16, tau=50, tau_background=200), hold_frames=1)
    test.keyframe(_flat(100))
    regions = np.zeros((3, 5), np.uint8)
    regions[1, 3] = 1
    test.focus(regions)
    assert _near(test, 1).tolist() == [[False, True, False], [False, False, False]]


def test_small_objects_have_a_threshold_of_their_own() -> None:
    test = _test(level(tau=120, tau_background=200, tau_small=50), hold_frames=1)
    test.keyframe(_flat(100))
    regions = np.zeros((3, 5), np.uint8)
    regions[0, 0], regions[2, 3] = 1, SMALL_OBJECT
    test.focus(regions)
    assert np.argwhere(_near(test, 1)).tolist() == [[2, 3]]  # 80
    test.focus(regions)
    assert np.argwhere(_decide(test, _flat(92))).tolist() == [[0, 0], [2, 3]]  # 128 and 208
