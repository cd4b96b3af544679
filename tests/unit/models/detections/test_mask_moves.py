"""Moves of masks: interpolation, what bends and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.models.detections.mask_moves import Move, bilinear, sources, total_shift

SHAPE = (6, 8)  # cells of 8 px


def a_move(vector: complex, displacement: complex, own: bool | None = None, **more: object) -> Move:
    vectors = np.full(SHAPE, vector, np.complex128)
    cells = None if own is None else np.full((1, *SHAPE), own)
    return Move(np.array([displacement]), vectors, cells, **more)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_interpolation_is_linear_between_values_and_exact_at_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 5, 7))
    y, x = rng.uniform(0, 4, 20), rng.uniform(0, 6, 20)
    layer = rng.integers(0, 2, 20)
    rows, columns = np.mgrid[:5, :7]
    slope = 2.0 * rows - 3.0 * columns
    assert np.allclose(bilinear(slope, y, x), 2 * y - 3 * x)
    assert np.array_equal(bilinear(values, rows * 1.0, columns * 1.0, np.int64(1)), values[1])
    each = [bilinear(values[of], one, other) for of, one, other in zip(layer, y, x, strict=True)]
    assert np.array_equal(bilinear(values, y, x, layer), each)
    assert np.array_equal(bilinear(np.full((5, 7), 0.1), y, x), np.full(20, 0.1))


def test_beyond_the_last_value_lie_more_of_the_same() -> None:
    values = np.arange(6.0).reshape(2, 3)
    at = [(-5.0, -1.0), (9.0, 9.0), (0.5, 70.0), (-2.0, 0.5)]
    found = [float(bilinear(values, np.array(y), np.array(x))) for y, x in at]
    assert found == [0, 5, 3.5, 0.5]


def test_cells_with_the_objects_displacement_do_not_bend() -> None:
    for own in (None, True, False):
        assert not a_move(3 + 2j, 3 + 2j, own).bends(0).any()
        assert (a_move(3 + 2j, 1 + 2j, own).bends(0) == 2).all()


def test_unknown_cells_do_not_bend() -> None:
    move = a_move(3 + 2j, 1j)
    assert move.vectors is not None
    move.vectors[2, 3] = np.nan
    expected = np.full(SHAPE, 3 + 1j)
    expected[2, 3] = 0
    assert (move.bends(0) == expected).all() and (move.bends(slice(None))[0] == expected).all()


def test_cells_beside_those_of_the_object_bend_as_these_do() -> None:
    """Two cells of the object, with bends of 4 and 8, amid a background with one of -6."""
    vectors = np.full(SHAPE, -6, np.complex128)
    own = np.zeros((1, *SHAPE), np.bool_)
    own[0, 2, 3:5] = True
    vectors[2, 3:5] = 4, 8
    bends = Move(np.zeros(1, np.complex128), vectors, own).bends(0)
    expected = np.full(SHAPE, -6, np.complex128)
    expected[1:4, 2:6] = 4, 6, 6, 8
    expected[2, 3:5] = 4, 8
    assert (bends == expected).all()


def test_a_move_without_vectors_only_shifts() -> None:
    move = Move(np.array([8 - 4j]), scale=(0.25, 0.5))
    assert move.shift(0) == (-1, 4) and total_shift((move, move), 0) == (-2, 8)
    y, x = sources((move, move), 0, range(2, 4), range(5))
    assert y.tolist() == [[2] * 5, [3] * 5] and x.tolist() == [[0, 1, 2, 3, 4]] * 2
    with pytest.raises(ValueError, match="with vectors"):
        move.bends(0)


def test_sources_lie_against_the_bends() -> None:
    """Everything moved by (2, 12), the object as a whole is said to have moved by (0, 8): masks have cells of 4 px."""
    move = a_move(12 + 2j, 8, scale=(0.25, 0.25), offset=(1.0, 0.0))
    y, x = sources((move,), 0, range(3), range(2))
    assert y.tolist() == [[-0.5] * 2, [0.5] * 2, [1.5] * 2] and x.tolist() == [[-1, 0]] * 3
    y, x = sources((move, move), 0, range(3), range(2))
    assert y.tolist() == [[-1] * 2, [0] * 2, [1] * 2] and x.tolist() == [[-2, -1]] * 3


def test_selection_takes_displacements_and_cells() -> None:
    own = np.zeros((3, *SHAPE), np.bool_)
    own[2] = True
    move = Move(np.array([1, 2, 3j]), np.zeros(SHAPE, np.complex128), own).select(np.array([2, 0]))
    assert move.displacement.tolist() == [3j, 1] and move.own is not None
    assert move.own[0].all() and not move.own[1].any()
