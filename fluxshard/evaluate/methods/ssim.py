"""What COACH compares and sends: structural similarity of whole frames, and frames of a quarter of their size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

WINDOW_PX = 8
LUMA = (0.299, 0.587, 0.114)


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean structural similarity of two images' brightness over windows of 8x8 px.

    Source: Wang, Bovik, Sheikh and Simoncelli, 2004, with uniform windows that do not overlap.

    Args:
      a, b: `(1, 3, H, W)` in 0..1.

    Returns:
      1 for equal images.
    """
    weights = torch.tensor(LUMA, device=a.device).view(1, 3, 1, 1)
    x, y = (a * weights).sum(1, keepdim=True), (b * weights).sum(1, keepdim=True)
    mean_x, mean_y = avg_pool2d(x, WINDOW_PX), avg_pool2d(y, WINDOW_PX)
    var_x = avg_pool2d(x * x, WINDOW_PX) - mean_x**2
    var_y = avg_pool2d(y * y, WINDOW_PX) - mean_y**2
    covariance = avg_pool2d(x * y, WINDOW_PX) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def quarter_bits(image: Tensor) -> Tensor:
    """An image in 0..1 at a quarter of its bits: 2 of 8 per colour, evenly spread from 0 to 1."""
    levels = torch.round(image * 3)
    return levels.div(3)


def quarter_area(image: Tensor) -> Tensor:
    """An image `(1, 3, H, W)` at a quarter of its pixels: means of 2x2 px, enlarged again bilinearly."""
    small = avg_pool2d(image, 2, ceil_mode=True)
    return interpolate(small, size=image.shape[2:], mode="bilinear", align_corners=False)
