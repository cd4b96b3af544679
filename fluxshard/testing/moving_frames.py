"""Sequences of small random images with motion fields: truthful, approximate and absurd ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import CELL_PX, MotionField, cells

Pixels = NDArray[np.float64]  # (3, H, W)

KINDS = ("pan", "blocks", "garbage", "borders", "static", "cut", "unknown", "huge")


def frames(
    kind: str, size: tuple[int, int], n: int, seed: int, integer: bool = False
) -> Iterator[tuple[Tensor, MotionField | None]]:
    """Yields `n` pairs (image, motion from the image before); the first motion is None.

    | kind | content | motion |
    |---|---|---|
    | pan | the whole picture moves | true |
    | blocks | follows the vectors where it can, and a patch changes | random per 8-px cell, a tenth invalid |
    | borders, garbage | as for blocks | the same, longer: many point across the border |
    | huge | a patch changes | far outside the image |
    | static | a patch changes in every second frame | zero |
    | cut | an unrelated picture from the middle on | zero |
    | unknown | a patch changes | None |

    Args:
      kind: one of `KINDS`.
      size: (H, W) in pixels, at least 5 each.
      n: frames.
      seed: of all that is random.
      integer: pixels are whole numbers 0..4, so that float32 arithmetic on them is exact; otherwise multiples of
        1/255 in 0..1.

    Yields:
      image `(1, 3, H, W)` float32, and its motion.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind (={kind!r}) must be one of {', '.join(KINDS)}")
    rng = np.random.default_rng(seed)
    height, width = size
    shape = cells(height, CELL_PX), cells(width, CELL_PX)
    levels = 5 if integer else 256
    scene = rng.integers(0, levels, (3, height + 128, width + 128)) / (1 if integer else levels - 1)
    y, x = 64, 64
    image = scene[:, y : y + height, x : x + width].copy()
    for index in range(n):
        displacement = np.zeros((*shape, 2), np.int64)
        valid = np.ones(shape, np.bool_)
        if index:
            previous = image
            step = rng.choice([0, 1, 2, 3, 4, 8, 16], 2) * rng.choice([-1, 1], 2)
            if kind == "pan":
                ny, nx = np.clip([y - step[0], x - step[1]], 0, 128)
                displacement[...] = (y - ny, x - nx)
                y, x = int(ny), int(nx)
                image = scene[:, y : y + height, x : x + width].copy()
            elif kind in ("blocks", "borders", "garbage", "huge"):
                spread = {"blocks": 8, "borders": 40, "garbage": 20, "huge": 30_000}[kind]
                coarse = rng.integers(-spread, spread + 1, (*shape, 2))
                if kind == "blocks":
                    coarse = (coarse // 4) * 4
                displacement = np.where(rng.random((*shape, 1)) < 0.6, coarse, step)
                valid = rng.random(shape) < 0.9
                image = previous.copy()
                if kind != "huge":
                    image = _follow(previous, displacement)
                image = _patch(image, rng, levels, integer)
            elif kind == "static":
                image = _patch(previous.copy(), rng, levels, integer) if index % 2 else previous.copy()
            elif kind == "cut" and index == n // 2:
                image = rng.integers(0, levels, image.shape) / (1 if integer else levels - 1)
            elif kind == "unknown":
                image = _patch(previous.copy(), rng, levels, integer)
        motion = None if index == 0 or kind == "unknown" else MotionField(displacement, valid)
        yield torch.from_numpy(image).float()[None], motion


def _follow(image: Pixels, displacement: NDArray[np.int64]) -> Pixels:
    """Every cell's content moved along its vector, where the source is inside."""
    height, width = image.shape[1:]
    d = displacement.repeat(CELL_PX, 0).repeat(CELL_PX, 1)[:height, :width]
    sy, sx = np.arange(height)[:, None] - d[..., 0], np.arange(width)[None] - d[..., 1]
    inside = (sy >= 0) & (sy < height) & (sx >= 0) & (sx < width)
    moved = image[:, np.clip(sy, 0, height - 1), np.clip(sx, 0, width - 1)]
    return np.where(inside, moved, image)


def _patch(image: Pixels, rng: np.random.Generator, levels: int, integer: bool) -> Pixels:
    """Changes a rectangle of up to 9 x 9 pixels, in place."""
    height, width = image.shape[1:]
    y, x = rng.integers(0, height - 4), rng.integers(0, width - 4)
    h, w = rng.integers(1, 10, 2)
    patch = image[:, y : y + h, x : x + w]
    patch[...] = rng.integers(0, levels, patch.shape) / (1 if integer else levels - 1)
    return image
