"""Quads: recompute sets that travel are rounded up to squares of 2 x 2 pixels, a quarter of the mask's bits.

Source: the wire format of the FluxShard paper flags 2 x 2 pixels; all four pixels of a flagged quad belong to S_0 on
both sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

QUAD_PX = 2


def quad_mask(mask: Mask) -> Mask:
    """Which quads have a flagged pixel: `(H, W)` to `(ceil(H / 2), ceil(W / 2))`."""
    if mask.shape[0] % QUAD_PX or mask.shape[1] % QUAD_PX:
        height, width = (length + length % QUAD_PX for length in mask.shape)
        padded = np.zeros((height, width), np.bool_)
        padded[: mask.shape[0], : mask.shape[1]] = mask
        mask = padded
    rows = mask[0::2] | mask[1::2]
    found: Mask = rows[:, 0::2] | rows[:, 1::2]
    return found


def quad_pixels(flagged: Mask, size: tuple[int, int]) -> Mask:
    """All pixels of flagged quads: `(ceil(H / 2), ceil(W / 2))` to `(H, W)` = `size`."""
    return flagged.repeat(QUAD_PX, 0).repeat(QUAD_PX, 1)[: size[0], : size[1]]


def quads(mask: Mask) -> Mask:
    """The mask `(H, W)` with every quad that has a flagged pixel flagged whole: S_0 of both sides."""
    height, width = mask.shape
    return quad_pixels(quad_mask(mask), (height, width))
