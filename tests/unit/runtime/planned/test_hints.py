"""Motion hints: what features would move by if they moved as they are told."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fluxshard.geometry import Grid
from fluxshard.motion import MotionField
from fluxshard.runtime.planned.hints import dominant_motion, level_motion, whole_features
from tests.unit.runtime.planned.slow_image_test import grids_of, level

SIZE = (24, 40)  # 3x5 cells of 8 px


@pytest.mark.parametrize(
    ("stride", "motion", "moved"),
    [
        (Fraction(8), 3, 0),
        (Fraction(8), 4, 8),  # half a cell rounds up
        (Fraction(8), -4, 0),
        (Fraction(8), -5, -8),
        (Fraction(16), 23, 16),
        (Fraction(16), 24, 32),
        (Fraction(1), -7, -7),
        (Fraction(8, 3), 4, 5),  # 1.5 cells: 2 of 8 / 3 px are 5 1/3
        (Fraction(5, 2), 1, 0),
        (Fraction(5, 2), 2, 3),  # a cell of 2.5 px
        (Fraction(5, 2), -2, -2),  # -0.8: a cell back, -2.5, which rounds up
    ],
)
def test_features_move_by_whole_cells(stride: Fraction, motion: int, moved: int) -> None:
    one = level((stride, Fraction(1)))
    for axis in (0, 1):
        vector = (motion, 0) if axis == 0 else (0, motion)
        one = level((stride, Fraction(1)) if axis == 0 else (Fraction(1), stride))
        shift, valid = level_motion(MotionField.uniform(*SIZE, *vector), one, grids_of(SIZE, [one])[1], SIZE)
        assert valid.all() and shift.shape == (3, 5, 2)
        assert (shift[..., axis] == moved).all() and not shift[..., 1 - axis].any()


def test_motion_is_read_below_the_middle_of_a_feature_cell() -> None:
    """Stride 32 on 64x64 px: the features' centres lie in cells 2 and 6 of 8."""
    motion = MotionField(np.indices((8, 8)).transpose(1, 2, 0) * 32, np.ones((8, 8), np.bool_))
    one = level(32, shard_px=32)
    shift, valid = level_motion(motion, one, Grid(2, 2, Fraction(32), Fraction(32)), (64, 64))
    assert valid.all()
    assert shift[:, 0, 0].tolist() == shift[0, :, 1].tolist() == [64] * 4 + [192] * 4
    unknown = np.ones((8, 8), np.bool_)
    unknown[6, 2] = False
    _, valid = level_motion(MotionField(motion.displacement, unknown), one, Grid(2, 2, *one.stride), (64, 64))
    assert not valid[4:, :4].any() and valid.sum() == 48


def test_without_motion_nothing_moves() -> None:
    shift, valid = level_motion(None, level(), grids_of(SIZE, [level()])[1], SIZE)
    assert not shift.any() and valid.all() and valid.shape == (3, 5)


def test_whole_features_and_more() -> None:
    one = level((Fraction(8, 3), Fraction(16)))
    assert whole_features(np.array([4, 23]), one).tolist() == [5, 16]  # 2 of 8 / 3 px are 5 1/3
    assert whole_features(np.array([4, 23]), one, np.array([1, -1])).tolist() == [8, 0]


@pytest.mark.parametrize(
    ("vectors", "dominant"),
    [
        ([(0, 3), (0, 3), (5, 5)], (0, 3)),
        ([(0, 3), (-1, 7), (-1, 4), (9, 9)], (-1, 4)),  # all are as frequent: the smallest
        ([(-300, 200), (-300, 200)], (-300, 200)),
    ],
)
def test_the_dominant_motion(vectors: list[tuple[int, int]], dominant: tuple[int, int]) -> None:
    field = MotionField(np.array([vectors]), np.ones((1, len(vectors)), np.bool_))
    assert tuple(dominant_motion(field)) == dominant


def test_cells_without_motion_do_not_count() -> None:
    field = MotionField(np.array([[(2, 2), (7, 7), (7, 7)]]), np.array([[True, False, False]]))
    assert tuple(dominant_motion(field)) == (2, 2)
    nothing = MotionField(np.zeros((1, 2, 2), np.int16), np.zeros((1, 2), np.bool_))
    assert tuple(dominant_motion(nothing)) == (0, 0)
