"""Fields in pieces: they come back, and what is alike costs nothing beyond its bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.wire.motion.displacements import (
    Patches,
    differences_of,
    field_of,
    joined,
    patches,
    split,
    strays,
    unzigzag,
    zigzag,
)

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
SPANS = st.sampled_from([0, 1, 3, 32767])


def random_field(shape: tuple[int, int], span: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-span - 1, span + 1, (*shape, 2)).astype(np.int16)


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_numbers_come_back(numbers: list[int]) -> None:
    given_ = np.array(numbers, np.int16)
    assert (unzigzag(zigzag(given_)) == given_).all()
    words = zigzag(given_)
    assert (joined(split(words)) == words).all()


def test_small_differences_are_small_numbers() -> None:
    assert zigzag(np.array([0, -1, 1, -2, 2, 65535])).tolist() == [0, 1, 2, 3, 4, 1]


@given(shape=SHAPES, span=SPANS, seed=st.integers(0, 2**31))
def test_fields_come_back(shape: tuple[int, int], span: int, seed: int) -> None:
    field = random_field(shape, span, seed)
    assert (field_of(patches(field)) == field).all()


def test_only_the_edges_of_patches_have_steps() -> None:
    field = np.zeros((6, 8, 2), np.int16)
    field[2:5, 3:6] = (-4, 9)
    found = patches(field)
    # the first cell of the patch; what is after it is 0 as above, and all below is as above
    assert found.steps.T.tolist() == [zigzag(np.array([-4, 9])).tolist()]
    assert np.argwhere(~found.before).tolist() == [[row, column] for row in (2, 3, 4) for column in (3, 6)]
    assert found.above.tolist() == [False, True, True, True, True, True]


@given(shape=SHAPES, seed=st.integers(0, 2**31))
def test_any_pieces_that_fit_give_a_field(shape: tuple[int, int], seed: int) -> None:
    """They come over the wire."""
    rng = np.random.default_rng(seed)
    before = rng.random(shape) < 0.5
    above = rng.random(int(np.count_nonzero(~before))) < 0.5
    steps = rng.integers(0, 65536, (2, int(np.count_nonzero(~above)))).astype(np.uint16)
    field = field_of(Patches(before, above, steps))
    assert field.shape == (*shape, 2) and field.dtype == np.int16
    assert (field_of(patches(field)) == field).all()


@given(shape=SHAPES, span=SPANS, seed=st.integers(0, 2**31))
def test_differences_come_back(shape: tuple[int, int], span: int, seed: int) -> None:
    apart = random_field(shape, span, seed)
    apart[np.random.default_rng(seed).random(shape) < 0.7] = 0
    found = strays(apart)
    assert len(found.steps) == np.count_nonzero(apart) and (differences_of(found) == apart).all()
