"""One motion for a frame, from fields whose homography is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.evaluate.methods.global_motion import fit_homography, global_shift, project
from fluxshard.motion import MotionField

SIZE = (160, 224)
TURN = np.array([[1.02, -0.03, 7.0], [0.025, 0.98, -5.0], [2e-5, -3e-5, 1.0]])


def centres(size: tuple[int, int] = SIZE, cell: int = 8) -> NDArray[np.float64]:
    """`(rows, columns, 2)`: x, y of the middle of each cell."""
    y, x = np.mgrid[0 : size[0] : cell, 0 : size[1] : cell] + cell / 2
    return np.stack([x, y], -1).astype(np.float64)


def apply(matrix: NDArray[np.float64], x: float, y: float) -> tuple[float, float]:
    """The definition, for one point."""
    u, v, w = matrix @ (x, y, 1.0)
    return u / w, v / w


def field_of(matrix: NDArray[np.float64], cell: int = 8) -> tuple[MotionField, NDArray[np.float64]]:
    """The motion of a camera whose frames are related by `matrix`, from old to new; and its exact (dy, dx)."""
    inverse = np.asarray(np.linalg.inv(matrix), np.float64)
    middles = centres(cell=cell)
    sources = np.array([[apply(inverse, float(x), float(y)) for x, y in row] for row in middles])
    exact = (middles - sources)[..., ::-1]
    return MotionField(np.rint(exact).astype(np.int64), np.ones(exact.shape[:2], np.bool_), cell), exact


def spoiled(field: MotionField, share: float, seed: int) -> MotionField:
    """Some of the vectors replaced by garbage."""
    rng = np.random.default_rng(seed)
    bad = rng.random(field.valid.shape) < share
    garbage = rng.integers(-60, 61, field.displacement.shape)
    return MotionField(np.where(bad[..., None], garbage, field.displacement), field.valid, field.cell_px)


@pytest.mark.parametrize("cell", [8, 16])
@pytest.mark.parametrize("seed", range(3))
def test_the_median_of_a_homography_through_garbage(cell: int, seed: int) -> None:
    field, exact = field_of(TURN, cell)
    expected = np.median(exact.reshape(-1, 2), axis=0)
    assert np.abs(expected).min() > 2 and np.ptp(exact[..., 0]) > 6  # neither no motion nor a mere shift
    assert np.abs(np.array(global_shift(field)) - expected).max() <= 0.75
    assert np.abs(np.array(global_shift(spoiled(field, 0.3, seed))) - expected).max() <= 0.75


def test_garbage_on_one_side_does_not_pull() -> None:
    """A large object moves: the plain median of all vectors would follow it by some pixels, the camera did not."""
    field, exact = field_of(np.array([[1.0, 0.0, 0.0], [0.0, 1.1, -8.0], [0.0, 0.0, 1.0]]))
    moved = field.displacement.copy()
    moved[:, 17:] = (30, 30)
    both = MotionField(moved, field.valid)
    plain = np.median(moved.reshape(-1, 2), axis=0)
    expected = np.median(exact.reshape(-1, 2), axis=0)
    assert abs(plain[0] - expected[0]) > 1.5
    assert np.abs(np.array(global_shift(both)) - expected).max() <= 0.75


@given(st.integers(-40, 40), st.integers(-40, 40), st.sampled_from([(32, 48), (8, 8), (8, 64), (20, 36)]))
def test_exact_on_uniform_motion(dy: int, dx: int, size: tuple[int, int]) -> None:
    """Also where cells are too few for a homography, or all on one line."""
    assert global_shift(MotionField.uniform(*size, dy, dx)) == (dy, dx)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 2**20))
def test_cells_of_which_nothing_is_known_do_not_count(dy: int, dx: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    valid = rng.random((6, 8)) < 0.4
    valid[0, 0] = True
    values = np.where(valid[..., None], (dy, dx), rng.integers(-50, 50, (6, 8, 2)))
    assert global_shift(MotionField(values, valid)) == (dy, dx)


def test_nothing_known_is_no_motion() -> None:
    assert global_shift(MotionField(np.full((4, 6, 2), 9), np.zeros((4, 6), np.bool_))) == (0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_the_matrix_itself_through_a_third_of_garbage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources = rng.uniform(0, 200, (60, 2))
    targets = np.array([apply(TURN, x, y) for x, y in sources])
    targets[:20] += rng.uniform(20, 60, (20, 2)) * rng.choice([-1, 1], (20, 2))
    order = rng.permutation(60)
    found = fit_homography(sources[order], targets[order], seed)
    assert found is not None and np.abs(found - TURN).max() < 1e-7
    again = fit_homography(sources[order], targets[order], seed)
    assert again is not None and (again == found).all()


def test_too_little_to_fit() -> None:
    square = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    assert fit_homography(square[:3], square[:3] + 1) is None
    line = np.stack([np.arange(9.0), 2 * np.arange(9.0)], 1)
    assert fit_homography(line, line + 1) is None
    same = np.ones((9, 2))
    assert fit_homography(same, same) is None
    exact = fit_homography(square, square[:, ::-1] + 1)
    assert exact is not None and np.allclose(exact, [[0, 1, 1], [1, 0, 1], [0, 0, 1]], atol=1e-9)


def test_projection_by_definition_and_infinity_is_nan() -> None:
    points = centres().reshape(-1, 2)
    assert np.allclose(project(TURN, points), [apply(TURN, x, y) for x, y in points])
    horizon = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, -4.0]])
    got = project(horizon, np.array([[2.0, 5.0], [2.0, 4.0], [0.0, 4.0], [2.0, 3.0]]))
    assert np.allclose(got[[0, 3]], [[2, 5], [-2, -3]]) and np.isnan(got[[1, 2]]).all()
