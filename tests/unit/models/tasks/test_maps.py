"""Which outputs are maps."""

from __future__ import annotations

import torch

from fluxshard.models.tasks.maps import maps_among

SIZE = (64, 96)


def test_maps_are_found_in_any_structure_in_its_order():
    first, second = torch.zeros(1, 4, 8, 12), torch.zeros(16, 24)
    outputs = {"scores": torch.zeros(1, 10), "levels": [first, (second, 7)], "boxes": torch.zeros(1, 84, 126)}
    assert [map is one for map, one in zip(maps_among(outputs, SIZE), (first, second), strict=True)] == [True, True]


def test_vectors_tokens_batches_and_other_sides_are_no_maps():
    for wrong in (
        torch.zeros(96), torch.zeros(1, 96), torch.zeros(2, 3, 8, 12), torch.zeros(1, 3, 12, 8),
        torch.zeros(1, 3, 8, 12, dtype=torch.complex64), torch.zeros(1, 1, 8, 12, 1), None, 3,
    ):  # fmt: skip
        assert maps_among(wrong, SIZE) == []
