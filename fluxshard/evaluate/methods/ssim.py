"""Frame operations of COACH: structural similarity of whole frames, and compression to a quarter of the bytes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

WINDOW_PX = 8
LUMA = (0.299, 0.587, 0.114)  # R, G, B weights of ITU-R BT.601


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean structural similarity (SSIM) of the luma of two images over windows of 8x8 px.

    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE Trans. Image Processing 13(4), 2004, with uniform non-overlapping
    windows in place of the sliding Gaussian one.

    Args:
      a, b: `(1, 3, H, W)` RGB in 0..1.

    Returns:
      at most 1; 1 for equal images.
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
    """Quantises an image in 0..1 from 8 to 2 bits per channel: 4 equally spaced values from 0 to 1."""
    codes = torch.round(image * 3)
    return codes.div(3)


def quarter_area(image: Tensor) -> Tensor:
    """Downsamples `(1, 3, H, W)` by 2 per axis with average pooling, and upsamples it again bilinearly."""
    small = avg_pool2d(image, 2, ceil_mode=True)
    return interpolate(small, size=image.shape[2:], mode="bilinear", align_corners=False)
