"""Structural similarity against a loop over windows, and what frames of a quarter of their size hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.evaluate.methods.ssim import quarter_area, quarter_bits, ssim


def image(seed: int, size: tuple[int, int] = (16, 24), smooth: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(1, 3, *size, generator=generator)
    return torch.nn.functional.avg_pool2d(values, 3, 1, 1) if smooth else values


def slow_ssim(a: Tensor, b: Tensor) -> float:
    """Window by window, in float64, with the textbook's formula of two factors."""

    def luma(picture: Tensor) -> NDArray[np.float64]:
        red, green, blue = picture[0].numpy().astype(np.float64)
        return np.asarray(0.299 * red + 0.587 * green + 0.114 * blue)

    x, y = luma(a), luma(b)
    values = []
    for top in range(0, x.shape[0] - 7, 8):
        for left in range(0, x.shape[1] - 7, 8):
            p, q = (side[top : top + 8, left : left + 8] for side in (x, y))
            mx, my = p.mean(), q.mean()
            light = (2 * mx * my + 1e-4) / (mx * mx + my * my + 1e-4)
            texture = (2 * ((p - mx) * (q - my)).mean() + 9e-4) / (p.var() + q.var() + 9e-4)
            values.append(light * texture)
    return float(np.mean(values))


@pytest.mark.parametrize("size", [(16, 24), (8, 8), (19, 31)])
def test_is_that_of_a_loop(size: tuple[int, int]) -> None:
    for smooth in (False, True):
        a, b = image(0, size, smooth), image(1, size, smooth)
        assert ssim(a, b) == pytest.approx(slow_ssim(a, b), abs=1e-5)
        near = (a + 0.1 * (b - 0.5)).clamp(0, 1)
        assert ssim(a, near) == pytest.approx(slow_ssim(a, near), abs=1e-5)


def test_flat_images_by_hand() -> None:
    """Without texture only brightness tells: (2 * 0.01 * 0.03 + c) / (0.0001 + 0.0009 + c), with c = 0.0001."""
    dark, darker = torch.full((1, 3, 8, 8), 0.03), torch.full((1, 3, 8, 8), 0.01)
    assert ssim(dark, darker) == pytest.approx(7 / 11, abs=1e-5)


def test_falls_with_noise_and_is_one_for_equal_images() -> None:
    a, noise = image(0, smooth=True), image(7) - 0.5
    values = [ssim(a, (a + strength * noise).clamp(0, 1)) for strength in (0, 0.05, 0.1, 0.3, 1)]
    assert values[0] == pytest.approx(1, abs=1e-6)
    assert values == sorted(values, reverse=True) and values[1] < 0.999 and values[-1] < 0.5


def test_a_negative_is_worse_than_anything_unrelated() -> None:
    a = image(3)
    assert ssim(a, 1 - a) < -0.9
    assert abs(ssim(a, image(4))) < 0.3


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([1e-3, 0.5, 1]))
def test_is_symmetric_and_within_one(first: int, second: int, mixed: float, contrast: float) -> None:
    a = contrast * image(first)
    b = contrast * ((1 - mixed) * image(second) + mixed * (1 - image(first)))
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-6)
    assert -1 - 1e-5 <= ssim(a, b) <= 1 + 1e-5
    assert ssim(a, a) == pytest.approx(1, abs=1e-5)


def test_two_bits_per_colour() -> None:
    ramp = torch.linspace(0, 1, 256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    sent = quarter_bits(ramp)
    assert sent.shape == ramp.shape and sent.dtype == torch.float32
    assert sorted(sent.unique().tolist()) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert float((sent - ramp).abs().max()) <= 1 / 6 + 1e-6
    assert torch.equal(quarter_bits(sent), sent)


@pytest.mark.parametrize("size", [(16, 24), (15, 23), (1, 1), (2, 7)])
def test_a_quarter_of_the_pixels(size: tuple[int, int]) -> None:
    """As many independent values as a quarter of the image: a map of a rank that is no larger."""
    height, width = size
    pixels = height * width
    basis = torch.eye(pixels).view(pixels, 1, 1, height, width).expand(-1, 1, 3, -1, -1)
    columns = torch.stack([quarter_area(one)[0, 0].flatten() for one in basis])
    assert columns.shape == (pixels, pixels)
    assert int(torch.linalg.matrix_rank(columns)) == math.ceil(height / 2) * math.ceil(width / 2)
    assert torch.allclose(columns.sum(0), torch.ones(pixels), atol=1e-5)  # weights: a flat image stays as it is


def test_means_of_two_by_two_are_what_is_sent() -> None:
    checker = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(4, 6).expand(1, 3, 8, 12)
    assert torch.allclose(quarter_area(checker), torch.full((1, 3, 8, 12), 0.5))
    blocks = image(5, (4, 6)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    corner = quarter_area(blocks)[..., 0, 0]
    assert torch.allclose(corner, blocks[..., 0, 0])  # nothing to blend with at the corner
    middle = quarter_area(blocks)[0, 0, 1, 1]
    ones = blocks[0, 0]
    assert float(middle) == pytest.approx(
        float(0.5625 * ones[0, 0] + 0.1875 * (ones[0, 2] + ones[2, 0]) + 0.0625 * ones[2, 2]), abs=1e-6
    )
