"""Slot maps."""

from __future__ import annotations

import numpy as np

from fluxshard.geometry import Grid
from fluxshard.motion import MotionField
from fluxshard.runtime.reuse import slot_map
from fluxshard.runtime.reuse.displacement import displacement_field


def test_a_row_is_never_handed_out_while_the_old_map_refers_to_it() -> None:
    rng = np.random.default_rng(0)
    grid = Grid(6, 7)
    current = slot_map.identity(grid.cells)
    for _ in range(50):
        motion = MotionField(rng.integers(-4, 5, (1, 1, 2)), np.ones((1, 1), np.bool_))
        field = displacement_field(motion, grid, grid)
        new = slot_map.remap(current, field)
        candidates = np.flatnonzero(~field.valid.ravel() | (rng.random(grid.cells) < 0.4))
        rows = slot_map.allocate(current, candidates, 2 * grid.cells)
        assert len(rows) == len(candidates) and (np.diff(rows) > 0).all()
        assert not set(rows.tolist()) & set(current.tolist())
        new[candidates] = rows
        current = new


def test_scatter_back_lets_the_last_cell_win() -> None:
    grid = Grid(1, 4)
    field = displacement_field(MotionField(np.array([[[0, 0]]]), np.ones((1, 1), np.bool_)), grid, grid)
    source = np.array([[0, 0, 2, 1]])
    field = type(field)(field.displacement, np.array([[True, True, True, False]]), source, False)
    result = slot_map.scatter_back(
        np.zeros(4, np.int32), np.array([1, 2, 3, 4], np.int32), np.ones((1, 4), np.bool_), field
    )
    assert result.tolist() == [2, 0, 3, 0]
