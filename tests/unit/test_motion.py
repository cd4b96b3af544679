"""Motion fields and their composition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField, accumulate, cells


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


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 8, 16]), st.sampled_from([0, 4, 40, 32_767]))
def test_accumulate_cell_by_cell(seed: int, cell_px: int, spread: int) -> None:
    rng, (height, width) = np.random.default_rng(seed), (21, 30)
    shape = cells(height, cell_px), cells(width, cell_px)
    earlier, later = (
        MotionField(rng.integers(-spread, spread + 1, (*shape, 2)), rng.random(shape) < 0.9, cell_px) for _ in range(2)
    )
    found = accumulate(earlier, later, height, width)
    for row in range(shape[0]):
        for column in range(shape[1]):
            middle = [min(i * cell_px + cell_px // 2, n - 1) for i, n in ((row, height), (column, width))]
            y, x = (m - int(d) for m, d in zip(middle, later.displacement[row, column], strict=True))
            expected = None
            if later.valid[row, column] and 0 <= y < height and 0 <= x < width:
                source = y // cell_px, x // cell_px
                total = earlier.displacement[source].astype(int) + later.displacement[row, column]
                if earlier.valid[source] and abs(total).max() <= 32_767:
                    expected = total.tolist()
            assert bool(found.valid[row, column]) == (expected is not None)
            assert found.displacement[row, column].tolist() == (expected or [0, 0])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint16, np.uint32])
def test_integers_of_all_kinds_are_taken_and_copied(dtype: type) -> None:
    displacement = np.array([[[1, 2], [100, 3]]], dtype)
    field = MotionField(displacement, np.array([[True, False]]))
    displacement[:] = 0
    assert field.displacement.dtype == np.int16 and field.displacement.tolist() == [[[1, 2], [0, 0]]]


def test_trusted_arrays_are_not_copied() -> None:
    displacement, valid = np.zeros((2, 3, 2), np.int16), np.ones((2, 3), np.bool_)
    field = MotionField.trusted(displacement, valid, 16)
    assert field.displacement is displacement and field.valid is valid and field.cell_px == 16


def flow_of(displacement: np.ndarray, direction: str) -> np.ndarray:
    """Flow as OpenCV has it, of whole `(dy, dx)` at every pixel that is there afterwards."""
    height, width, _ = displacement.shape
    if direction == "backward":
        return -displacement[..., ::-1].astype(np.float32)
    flow = np.full((height, width, 2), 1e4, np.float32)  # what is covered goes out of the picture
    y, x = np.moveaxis(np.indices((height, width)) - np.moveaxis(displacement, -1, 0), 0, 0)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    flow[y[inside], x[inside]] = displacement[inside][:, ::-1]
    return flow


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_flow_becomes_the_motion_that_it_is_of(direction: str) -> None:
    displacement = np.zeros((40, 60, 2), np.int64)
    displacement[:, 32:] = (-3, 5)
    field = MotionField.from_flow(flow_of(displacement, direction), direction)
    field.check_covers(40, 60)
    assert (field.displacement[:4, :4] == 0).all() and field.valid[:4, :4].all()
    assert (field.displacement[:4, 5:] == (-3, 5)).all() and field.valid[:4, 5:].all()
    if direction == "backward":
        assert field.valid.all()


def test_a_cell_takes_the_motion_of_most_of_its_pixels() -> None:
    flow = np.zeros((16, 16, 2), np.float32)
    flow[...] = (-7.4, 2.6)
    flow[:3, :8] = (90, -90)  # 24 of 64 pixels
    flow[8:, :8] = np.random.default_rng(0).uniform(-50, 50, (8, 8, 2))  # nothing agrees
    flow[9, 9] = np.nan
    flow[8:13, 8:] = np.inf  # 40 of 64
    field = MotionField.from_flow(flow, "backward")
    assert field.valid.tolist() == [[True, True], [False, False]]
    assert field.displacement[0].tolist() == [[-3, 7], [-3, 7]]


def test_where_nothing_has_come_to_is_unknown() -> None:
    flow = np.zeros((16, 24, 2), np.float32)
    flow[:, 8:, 0] = 8  # the right two thirds move by a cell
    field = MotionField.from_flow(flow, "forward")
    assert field.valid.tolist() == [[True, False, True]] * 2
    assert field.displacement[0, 2].tolist() == [0, 8]


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 4, 8]), st.integers(-9, 9), st.integers(-9, 9))
def test_uniform_flow_is_uniform_motion(height: int, width: int, cell_px: int, dy: int, dx: int) -> None:
    flow = np.tile(np.float32([-dx, -dy]), (height, width, 1)) + np.float32(0.3)
    field = MotionField.from_flow(flow, "backward", cell_px=cell_px)
    wanted = MotionField.uniform(height, width, dy, dx, cell_px)
    assert field.valid.all() and (field.displacement == wanted.displacement).all()
