"""Pictures `(H, W, 3)` uint8 of a textured scene that moves by a known step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def texture(height: int, width: int, seed: int = 0) -> Picture:
    """A smooth texture without repetition, in which a motion search finds the true displacement."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8) + 1, -(-width // 8) + 1, 3)).astype(np.float64)
    fine = np.kron(coarse, np.ones((8, 8, 1)))
    for axis in (0, 1):
        total = np.cumsum(np.insert(fine, 0, 0, axis), axis)
        window = [slice(None)] * 3
        window[axis] = slice(5, None)
        upper = total[tuple(window)]
        window[axis] = slice(None, -5)
        fine = (upper - total[tuple(window)]) / 5
    return fine[:height, :width].astype(np.uint8)


def panning(size: tuple[int, int], step: tuple[int, int], count: int, seed: int = 0) -> list[Picture]:
    """Views of one scene whose content moves by a whole number of pixels per picture.

    Args:
      size: (H, W) of the pictures.
      step: (y, x) displacement of the content, in pixels per picture.
      count: pictures.
      seed: of the texture.
    """
    (height, width), (down, right) = size, step
    margin_y, margin_x = abs(down) * count, abs(right) * count
    world = texture(height + 2 * margin_y + 8, width + 2 * margin_x + 8, seed)
    views = ((margin_y - down * k, margin_x - right * k) for k in range(count))
    return [np.ascontiguousarray(world[y : y + height, x : x + width]) for y, x in views]


def quarter_panning(size: tuple[int, int], step: tuple[int, int], count: int, seed: int = 0) -> list[Picture]:
    """The same with sub-pixel motion.

    Args:
      size: (H, W) of the pictures.
      step: (y, x) displacement of the content, in quarters of a pixel per picture.
      count: pictures.
      seed: of the texture.
    """
    height, width = size
    return [
        picture.reshape(height, 4, width, 4, 3).mean((1, 3)).round().astype(np.uint8)
        for picture in panning((4 * height, 4 * width), step, count, seed)
    ]
