"""What stands for an image size: an image, or its shape."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from fluxshard.errors import ShapeError
from fluxshard.runtime.checked_image import Picture, checked_image

Example: TypeAlias = Picture | tuple[int, int, int, int] | tuple[Tensor]

_ALLOWED = "an image, its shape (1, C, H, W), or a tuple with one image"


def example_image(given: Any) -> Tensor:
    """An image of the size that is meant.

    Args:
      given: what a session takes as an image; its shape, as a tuple, list or `torch.Size`; or a tuple or list with one
        image, as `torch.export` takes it.

    Returns:
      `(1, C, H, W)` float32 or uint8; zeros of a shape.

    Raises:
      ShapeError: anything else.
    """
    if not isinstance(given, (tuple, list)):
        return checked_image(given)
    if len(given) == 1 and not isinstance(given[0], int):
        return checked_image(given[0])
    shape = tuple(given)
    if not all(isinstance(length, int) and not isinstance(length, bool) for length in shape):
        names = ", ".join(type(length).__name__ for length in shape)
        raise ShapeError(f"example is a {type(given).__name__} of {names}; expected {_ALLOWED}")
    if len(shape) != 4 or min(shape) < 1:
        meant = f": of an image of {shape[0]}x{shape[1]} px in colours, (1, 3, {shape[0]}, {shape[1]})"
        raise ShapeError(f"example is the shape {shape}; expected (1, C, H, W){meant if len(shape) == 2 else ''}")
    if shape[0] != 1:
        raise ShapeError(
            f"example has batch {shape[0]}; a session runs one frame at a time: give {(1, *shape[1:])}, and make one "
            "session per stream"
        )
    return torch.zeros(shape)
