"""Pictures and masks, for the tests of this folder."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

SIZES = st.tuples(st.integers(1, 50), st.integers(1, 50))
KINDS = st.sampled_from(["noise", "smooth", "flat"])


def picture(size: tuple[int, int], kind: str, seed: int) -> NDArray[np.uint8]:
    """`(H, W, 3)`: noise, a smooth surface with some noise, or one colour."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (*size, 3), np.uint8)
    colour = rng.integers(0, 256, 3)
    if kind == "flat":
        return np.broadcast_to(colour, (*size, 3)).astype(np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    surface = 100 * np.sin(y / 9 + seed % 7) + 80 * np.cos(x / 13)
    return np.clip(surface[..., None] + colour + rng.integers(-3, 4, (*size, 3)), 0, 255).astype(np.uint8)


def masks(size: tuple[int, int], seed: int) -> list[NDArray[np.bool_]]:
    """Nothing, single pixels, most pixels, some cells of 8 px, a rectangle at any place, everything."""
    rng = np.random.default_rng(seed)
    height, width = size
    cells = rng.random((-(-height // 8), -(-width // 8))) < 0.4
    top, left = rng.integers(height), rng.integers(width)
    rectangle = np.zeros(size, np.bool_)
    rectangle[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = True
    return [
        np.zeros(size, np.bool_),
        rng.random(size) < 0.05,
        rng.random(size) < 0.8,
        cells.repeat(8, 0).repeat(8, 1)[:height, :width],
        rectangle,
        np.ones(size, np.bool_),
    ]
