"""Moving pictures without any data: a textured scene under a camera that stands and pans, part of which changes.

The part that changes grows and shrinks, so that the work of a network that reuses features covers all that there is.
Same seed, same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField

FRAMES = 288  # of a clip
_SWING = 48  # frames of one
_STILL = 12  # frames that the camera stands, then pans
_PAN_PX = (1, 3)  # (y, x) per frame
_NOISE = 0.0015  # standard deviation of a pixel, of its range
_LARGEST_SHARE = 0.4  # of the picture, in the part that changes
_SCALES = ((96, 0.4), (24, 0.08), (5, 0.02))  # side in pixels and contrast of the scene's texture
_PATCH_PX = 24  # of a small part that changes besides, somewhere else in every frame

Pixels = NDArray[np.float32]


def synthetic_clip(
    size: tuple[int, int], frames: int = FRAMES, seed: int = 0
) -> Iterator[tuple[Tensor, MotionField | None]]:
    """Yields images and their motion since the image before; that of the first is None.

    Args:
      size: (H, W) of the images in pixels.
      frames: that are yielded.
      seed: of all that is random.

    Yields:
      `(1, 3, H, W)` float32 in 0..1, and the camera's motion: what changes besides has none.
    """
    random = np.random.default_rng(seed)
    height, width = size
    pans = frames // (2 * _STILL) * _STILL + _STILL
    world = _texture((height + pans * _PAN_PX[0], width + pans * _PAN_PX[1]), random)
    centre = np.zeros(2)
    y = x = 0
    for index in range(frames):
        pan = index > 0 and index // _STILL % 2 == 1
        if pan:
            y, x = y + _PAN_PX[0], x + _PAN_PX[1]
        if index % _SWING == 0:
            centre = random.uniform(0, 1, 2)
        view = world[:, y : y + height, x : x + width]
        share = _LARGEST_SHARE * (0.5 - 0.5 * math.cos(2 * math.pi * index / _SWING)) ** 2
        sides = math.ceil(height * math.sqrt(share)), math.ceil(width * math.sqrt(share))
        _change(view, sides, centre, random)
        _change(view, (min(_PATCH_PX, height), min(_PATCH_PX, width)), random.uniform(0, 1, 2), random)
        image = view + random.normal(0, _NOISE, view.shape).astype(np.float32)
        motion = MotionField.uniform(height, width, *((-_PAN_PX[0], -_PAN_PX[1]) if pan else (0, 0)))
        yield torch.from_numpy(np.clip(image, 0, 1)[None]), motion if index else None


def _texture(size: tuple[int, int], random: np.random.Generator) -> Pixels:
    """Smooth noise of several scales, `(3, H, W)`; the finer, the fainter, as in pictures of the world."""
    total = np.full((3, *size), 0.5, np.float32)
    for side, contrast in _SCALES:
        coarse = random.uniform(-contrast, contrast, (1, 3, *(length // side + 2 for length in size)))
        total += F.interpolate(torch.from_numpy(coarse.astype(np.float32)), size, mode="bilinear")[0].numpy()
    return total


def _change(view: Pixels, sides: tuple[int, int], centre: NDArray[np.float64], random: np.random.Generator) -> None:
    """Gives a rectangle new content, strong or faint, in place.

    Args:
      view: `(3, H, W)`.
      sides: (height, width) of the rectangle.
      centre: (y, x) of it, 0..1; it is moved so that all of the rectangle is inside.
      random: where content comes from.
    """
    if min(sides) == 0:
        return
    top, left = (round(place * (size - side)) for place, size, side in zip(centre, view.shape[1:], sides, strict=True))
    patch = view[:, top : top + sides[0], left : left + sides[1]]
    patch += random.uniform(0.1, 1.0) * (_texture(sides, random) - patch)
