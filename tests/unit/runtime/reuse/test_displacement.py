"""Displacement fields on grids."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from fluxshard.geometry import Grid
from fluxshard.motion import MotionField
from fluxshard.runtime.reuse.displacement import displacement_field


@pytest.mark.parametrize("stride", [Fraction(1), Fraction(2), Fraction(32), Fraction(1, 2), Fraction(3, 2)])
def test_field_is_the_exact_rule_cell_by_cell(stride: Fraction) -> None:
    rng = np.random.default_rng(1)
    image = Grid(45, 61)
    grid = Grid(math.ceil(45 / stride), math.ceil(61 / stride), stride, stride)
    motion = MotionField(rng.integers(-30, 31, (6, 8, 2)), rng.random((6, 8)) < 0.8)
    field = displacement_field(motion, grid, image)
    for i in range(grid.height):
        for j in range(grid.width):
            y = min(44, math.floor((i + Fraction(1, 2)) * stride))
            x = min(60, math.floor((j + Fraction(1, 2)) * stride))
            m = motion.displacement[y // 8, x // 8]
            d = [math.floor(Fraction(int(c)) / stride + Fraction(1, 2)) for c in m]  # half rounds up
            sy, sx = i - d[0], j - d[1]
            valid = motion.valid[y // 8, x // 8] and 0 <= sy < grid.height and 0 <= sx < grid.width
            assert field.valid[i, j] == valid
            assert field.displacement[i, j].tolist() == (d if valid else [0, 0])
            assert field.source[i, j] == (sy * grid.width + sx if valid else 0)


def test_unknown_motion_compares_in_place() -> None:
    grid = Grid(4, 5, Fraction(8), Fraction(8))
    field = displacement_field(None, grid, Grid(32, 40))
    assert field.still and (field.source.ravel() == np.arange(20)).all()
    assert not displacement_field(MotionField.uniform(32, 40, 0, 8), grid, Grid(32, 40)).still
    assert displacement_field(MotionField.uniform(32, 40, 0, 3), grid, Grid(32, 40)).still  # less than half a cell
