"""Recompute sets of propagated reuse, from differences of values."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.runtime.reuse.displacement import DisplacementField

Mask = NDArray[np.bool_]


def gather(values: Tensor, field: DisplacementField) -> Tensor:
    """`values[p - d(p)]` for every cell; what invalid cells get means nothing.

    Args:
      values: `(1, C, H, W)`.
      field: on the same grid.
    """
    source = torch.from_numpy(field.source.reshape(-1))
    return values.flatten(2)[:, :, source].view_as(values)


def differs(fresh: Tensor, cached: Tensor, tau: float) -> Mask:
    """Cells where some channel differs by more than `tau`; NaN and infinity always differ.

    Args:
      fresh, cached: `(1, C, H, W)`.

    Returns:
      `(H, W)`.
    """
    limit = torch.tensor(
        tau, dtype=fresh.dtype
    )  # float32, as in generated kernels: the comparison must agree bit for bit
    mask: Mask = (~((fresh - cached).abs() <= limit)).any(1)[0].numpy()
    return mask


def input_set(image: Tensor, cached: Tensor, field: DisplacementField, tau: float) -> Mask:
    """S_0: pixels that differ from the aligned cached input, and pixels without a known source. Source: Eq. 16.

    Args:
      image, cached: `(1, 3, H, W)`.
      field: on the image's grid.
      tau: threshold on pixels, 0..1.
    """
    return differs(image, gather(cached, field), tau) | ~field.valid


def close(fresh: Tensor, cached: Tensor, tau: float) -> bool:
    """Whether a value off the grids counts as unchanged: every element within `tau`; NaN never is."""
    if not fresh.is_floating_point():
        return torch.equal(fresh, cached)
    return bool(((fresh - cached).abs() <= torch.tensor(tau, dtype=fresh.dtype)).all())
