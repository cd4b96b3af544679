"""Which outputs describe the image, and what stands in their cells."""

from __future__ import annotations

import pytest
import torch

from fluxshard.pipeline.saliency.output_maps import output_maps

SIZE = (64, 96)


@pytest.mark.parametrize(
    ("shape", "cells"),
    [
        ((1, 5, 64, 96), (8, 12)),
        ((1, 5, 16, 24), (8, 12)),
        ((1, 5, 8, 12), (8, 12)),
        ((1, 5, 4, 6), (4, 6)),
        ((1, 5, 2, 3), (2, 3)),
        ((5, 32, 48), (8, 12)),
        ((1, 64, 96), (8, 12)),
        ((64, 96), (8, 12)),
        ((1, 2, 22, 32), (8, 12)),  # stride 3, rounded up
        ((1, 2, 9, 13), (8, 12)),  # aligned at the corners
    ],
)
def test_maps_have_a_whole_stride(shape, cells):
    (map,) = output_maps(torch.rand(shape), SIZE)
    channels = shape[-3] if len(shape) > 2 else 1
    assert map.values.shape == (channels, *cells) and map.known.shape == cells and map.known.all()


@pytest.mark.parametrize(
    "shape", [(), (7,), (1, 1000), (1, 84, 126), (1, 300, 6), (1, 197, 192), (1, 5, 1, 1), (2, 5, 8, 12), (1, 5, 12, 8)]
)
def test_what_gives_no_position_is_left_out(shape):
    assert output_maps(torch.rand(shape), SIZE) == []


def test_tokens_of_a_square_image_are_no_map():
    assert output_maps(torch.rand(1, 197, 192), (224, 224)) == []


def test_maps_are_found_in_any_structure_in_order():
    outputs = {
        "a": (torch.rand(1, 84, 126), [torch.rand(1, 3, 8, 12)]),
        "b": None,
        "c": torch.rand(1, 2, 16, 24),
        "d": 3,
    }
    assert [len(map.values) for map in output_maps(outputs, SIZE)] == [3, 2]
    assert output_maps(torch.zeros(1, 2, 8, 12, dtype=torch.complex64), SIZE) == []


def test_cells_average_what_is_finer():
    values = torch.arange(64 * 96.0).reshape(1, 1, 64, 96)
    (map,) = output_maps(values, SIZE)
    assert torch.allclose(map.values[0], values[0, 0].reshape(8, 8, 12, 8).mean((1, 3)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_cells_with_values_that_are_not_finite_are_not_known(value):
    values = torch.rand(1, 3, 16, 24)
    values[0, 1, 5, 7] = value
    (map,) = output_maps(values, SIZE)
    assert (~map.known).nonzero().tolist() == [[2, 3]] and torch.isfinite(map.values).all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int32])
def test_integers_are_classes(dtype):
    labels = torch.zeros(1, 64, 96, dtype=dtype)
    labels[0, :8, :4] = 5
    (map,) = output_maps(labels, SIZE)
    assert map.is_shares and map.values.shape == (6, 8, 12)
    assert map.values[:, 0, 0].tolist() == [0.5, 0, 0, 0, 0, 0.5] and (map.values[0].flatten()[1:] == 1).all()
    (mask,) = output_maps(labels > 0, SIZE)
    assert mask.values[:, 0, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "labels", [torch.full((1, 64, 96), 300), torch.full((1, 64, 96), -1), torch.ones(1, 2, 8, 12, dtype=torch.int64)]
)
def test_other_integers_are_numbers(labels):
    (map,) = output_maps(labels, SIZE)
    assert not map.is_shares and (map.values == labels.flatten()[0]).all()
