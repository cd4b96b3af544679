"""Where maps lie in pictures."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.models.tasks.placed_map import Placement


def test_cells_that_are_covered_for_half_count():
    place = Placement((64, 96), (1.0, 1.0), (3.0, 5.0))
    assert place.cells((8, 12), (64, 96)) == (range(8), range(1, 12))
    assert Placement((64, 96)).cells((8, 12), (60, 50)) == (range(8), range(6))


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 3.0])
def test_pixels_and_cells_meet(scale):
    place = Placement((64, 96), (scale, scale), (0.0, 0.0))
    shape = round(64 / scale), round(96 / scale)
    rows, columns = place.nearest((8, 12), shape)
    assert (rows.shape, columns.shape) == ((shape[0],), (shape[1],))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 7, 0, 11)
    assert (np.diff(rows) >= 0).all()


def test_a_picture_of_a_picture():
    place = Placement((64, 96), (0.5, 0.5), (8.0, 0.0)).of_picture((2.0, 2.0), (4.0, 6.0))
    assert (place.scale, place.offset) == ((1.0, 1.0), (10.0, 3.0))
