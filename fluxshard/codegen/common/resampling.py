"""Source positions of bilinear resampling, in float32 and in the order of operations that torch has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Lerp:
    """Per output cell of one axis: the two source cells, and the share of the higher one."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    share: NDArray[np.float32]


def lerp(n_in: int, n_out: int, factor: float | None, align_corners: bool) -> Lerp:
    """Positions for bilinear resampling along one axis.

    Args:
      n_in: input cells.
      n_out: output cells.
      factor: output cells per input cell, where torch takes it instead of the quotient of the sizes; or None.
      align_corners: as in torch.

    Source: aten/src/ATen/native/UpSample.h, area_pixel_compute_source_index.
    """
    f32 = np.float32
    i = np.arange(n_out, dtype=np.float32)
    if align_corners:
        scale = f32(n_in - 1) / f32(n_out - 1) if n_out > 1 else f32(0)
        position = i * scale
    else:
        scale = f32(1.0 / factor) if factor else f32(n_in) / f32(n_out)
        position = np.maximum((i + f32(0.5)) * scale - f32(0.5), f32(0))
    low = np.minimum(position.astype(np.int64), n_in - 1)
    share = np.clip(position - low.astype(np.float32), 0, 1).astype(np.float32)
    return Lerp(low, np.minimum(low + 1, n_in - 1), share)
