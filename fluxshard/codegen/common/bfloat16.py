"""Numbers of bfloat16, the upper half of a float32, for which numpy has no type."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Each number rounded to the nearest of bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
