"""Motion fields and their composition."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField, accumulate


def test_uniform_and_zero_cover_the_frame() -> None:
    field = MotionField.uniform(45, 61, -3, 7)
    field.check_covers(45, 61)
    assert field.valid.shape == (6, 8) and (field.displacement == (-3, 7)).all()
    with pytest.raises(ShapeError, match=r"expected \(5, 8\)"):
        field.check_covers(40, 61)


def test_vectors_beyond_any_frame_are_unknown() -> None:
    displacement = np.zeros((2, 2, 2), np.int64)
    displacement[0, 1] = (0, 40_000)
    field = MotionField(displacement, np.ones((2, 2), np.bool_))
    assert field.valid.tolist() == [[True, False], [True, True]] and not field.displacement.any()


@pytest.mark.parametrize(
    ("displacement", "valid", "message"),
    [
        (np.zeros((2, 2), np.int16), np.ones((2, 2), np.bool_), "expected"),
        (np.zeros((2, 2, 2), np.float32), np.ones((2, 2), np.bool_), "whole pixels"),
        (np.zeros((2, 2, 2), np.int16), np.ones((2, 3), np.bool_), "expected"),
        (np.zeros((2, 2, 2), np.int16), np.ones((2, 2), np.int8), "bool"),
    ],
)
def test_wrong_arrays_are_refused(displacement: np.ndarray, valid: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        MotionField(displacement, valid)


def test_accumulate_follows_the_path() -> None:
    """Eq. 15 against a walk of one cell centre at a time."""
    rng = np.random.default_rng(0)
    height, width = 60, 77
    one, two = (MotionField(rng.integers(-20, 21, (8, 10, 2)), rng.random((8, 10)) < 0.9) for _ in range(2))
    total = accumulate(one, two, height, width)
    for i in range(8):
        for j in range(10):
            y, x = np.array([min(8 * i + 4, height - 1), min(8 * j + 4, width - 1)]) - two.displacement[i, j]
            known = two.valid[i, j] and 0 <= y < height and 0 <= x < width and one.valid[y // 8, x // 8]
            assert total.valid[i, j] == known
            if known:
                assert (total.displacement[i, j] == two.displacement[i, j] + one.displacement[y // 8, x // 8]).all()


def test_accumulate_needs_the_same_cells() -> None:
    with pytest.raises(ShapeError, match="compose"):
        accumulate(MotionField.zero(16, 16), MotionField.zero(16, 24), 16, 24)
