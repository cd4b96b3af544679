"""Maps of numbers: which output is taken, and what is shown of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.errors import ModelError
from fluxshard.models.tasks.value_map import DepthHead, ValueHead, range_of

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


def test_depth_takes_the_largest_map_of_one_channel():
    found = DepthHead(SIZE)((torch.ones(1, 8, 32, 48), torch.ones(1, 1, 8, 12), torch.ones(1, 1, 16, 24)))
    assert found.values.shape == (1, 16, 24)
    with pytest.raises(ModelError, match=r"outputs are \(1, 8, 32, 48\), and none is a map \(1, 1, h, w\)"):
        DepthHead(SIZE)(torch.ones(1, 8, 32, 48))


def test_errors_against_a_reference():
    reference = torch.linspace(1, 3, 96).reshape(1, 1, 8, 12)
    found = DepthHead(SIZE)(1.1 * reference)
    measures = found.agreement(DepthHead(SIZE)(reference))
    expected = float((0.1 * reference).square().mean().sqrt() / reference.std(correction=0))
    assert measures["relative_error"] == pytest.approx(expected, rel=1e-4)
    assert measures["depth_error"] == pytest.approx(0.1, rel=1e-3) and measures["delta1"] == 1.0
    far = DepthHead(SIZE)(1.3 * reference).agreement(DepthHead(SIZE)(reference))
    assert far["delta1"] == 0.0


def test_values_below_0_are_no_depths_and_unknown_ones_are_left_out():
    reference = torch.linspace(-1, 1, 96).reshape(1, 1, 8, 12)
    broken = reference.clone()
    broken[0, 0, 0, 0] = torch.nan
    measures = ValueHead(SIZE)(broken).agreement(ValueHead(SIZE)(reference))
    assert measures == {"relative_error": 0.0, "depth_error": None, "delta1": None}
    nothing = ValueHead(SIZE)(torch.full_like(reference, torch.nan))
    assert set(nothing.agreement(ValueHead(SIZE)(reference)).values()) == {None}
    flat = ValueHead(SIZE)(torch.zeros(1, 3, 8, 12))
    assert flat.agreement(flat)["relative_error"] is None


def test_a_record_holds_the_range():
    values = torch.linspace(0, 4, 96).reshape(1, 1, 8, 12)
    record = ValueHead(SIZE)(values).as_json(())
    assert record == {"values": {"size": [1, 8, 12], "min": 0.0, "mean": pytest.approx(2.0), "max": 4.0}}
    none = ValueHead(SIZE)(torch.full((1, 1, 8, 12), torch.inf)).as_json(())
    assert none["values"]["min"] is None


def test_bars_of_a_letterbox_are_left_out():
    values = torch.zeros(1, 1, 8, 12)
    values[0, 0, 1:7] = 1.0
    inside = ValueHead(SIZE)(values).to_picture((1.0, 1.0), (8.0, 0.0), (48, 96))
    assert inside.cropped().shape == (1, 6, 12) and inside.cropped().min() == 1.0
