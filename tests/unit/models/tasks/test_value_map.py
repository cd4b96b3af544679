"""Maps of numbers: which output is taken, and what is shown of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.models.tasks.value_map import ValueHead, range_of

SIZE = (64, 96)


def test_the_map_with_the_most_cells_is_taken():
    small, large, mask = torch.ones(1, 8, 8, 12), torch.zeros(1, 2, 32, 48), torch.zeros(64, 96, dtype=torch.bool)
    found = ValueHead(SIZE)((small, {"more": large, "mask": mask}))
    assert found.values.shape == (2, 32, 48) and found.placement.size == SIZE
    assert ValueHead(SIZE)(torch.zeros(1, 84, 126)) is None and ValueHead(SIZE)(None) is None


def test_one_channel_is_shown_as_it_is():
    values = torch.arange(96.0).reshape(1, 1, 8, 12)
    assert np.array_equal(ValueHead(SIZE)(values).shown(), values[0, 0].numpy())


def test_several_channels_are_shown_by_how_far_they_are_from_usual():
    values = torch.zeros(1, 3, 8, 12)
    values[0, 1] = 100.0  # the same everywhere: it says nothing
    values[0, :, 2, 3] += 5.0
    shown = ValueHead(SIZE)(values).shown()
    assert np.unravel_index(shown.argmax(), shown.shape) == (2, 3) and shown[0, 0] < 0.1 * shown[2, 3]


def test_large_maps_are_shown_by_every_nth_cell():
    assert ValueHead((960, 960))(torch.zeros(1, 1, 960, 960)).shown().shape == (192, 192)


def test_a_map_is_placed_in_the_picture():
    found = ValueHead(SIZE)(torch.zeros(1, 1, 8, 12)).to_picture((0.5, 0.25), (4.0, 8.0), (120, 300))
    assert (found.placement.scale, found.placement.offset) == ((0.5, 0.25), (4.0, 8.0))
    again = found.to_picture((2.0, 2.0), (10.0, 0.0), (60, 150)).placement
    assert again.scale == (1.0, 0.5) and again.offset == (9.0, 8.0)


def test_single_values_do_not_set_the_range():
    values = np.linspace(0, 1, 1000, dtype=np.float32)
    values[0], values[1], values[2] = 1e9, np.nan, -np.inf
    low, high = range_of(values)
    assert low == pytest.approx(0.02, abs=0.01) and high == pytest.approx(0.98, abs=0.01)
    assert range_of(np.full(4, np.nan, np.float32)) is None
