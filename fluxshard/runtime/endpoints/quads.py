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
    height, width = mask.shape
    padded = np.zeros((height + height % QUAD_PX, width + width % QUAD_PX), np.bool_)
    padded[:height, :width] = mask
    blocks = padded.reshape(padded.shape[0] // QUAD_PX, QUAD_PX, -1, QUAD_PX)
    found: Mask = np.any(blocks, axis=(1, 3), keepdims=False)
    return found


def quad_pixels(flagged: Mask, size: tuple[int, int]) -> Mask:
    """All pixels of flagged quads: `(ceil(H / 2), ceil(W / 2))` to `(H, W)` = `size`."""
    return flagged.repeat(QUAD_PX, 0).repeat(QUAD_PX, 1)[: size[0], : size[1]]


def quads(mask: Mask) -> Mask:
    """The mask `(H, W)` with every quad that has a flagged pixel flagged whole: S_0 of both sides."""
    height, width = mask.shape
    return quad_pixels(quad_mask(mask), (height, width))
