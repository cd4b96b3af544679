"""What a session takes as an image."""

from __future__ import annotations

import torch
from torch import Tensor

from fluxshard.errors import ShapeError


def check_image(image: Tensor) -> None:
    """Refuses what is not `(1, C, H, W)` float32.

    Raises:
      ShapeError: an image of another shape or type.
    """
    if not isinstance(image, torch.Tensor):
        raise ShapeError(f"image is a {type(image).__name__}; expected a float32 tensor of shape (1, C, H, W)")
    if image.dim() != 4 or image.dtype != torch.float32:
        raise ShapeError(f"image is {tuple(image.shape)} {image.dtype}; expected (1, C, H, W) torch.float32")
    if image.shape[0] != 1:
        raise ShapeError(
            f"image has batch {image.shape[0]}; a session runs one frame at a time: make one session per stream"
        )


def check_device(image: Tensor, expected: torch.device) -> None:
    """Refuses an image that is not where its model runs.

    Raises:
      ShapeError: an image on another device.
    """
    if image.device.type != expected.type or (expected.index is not None and image.device.index != expected.index):
        move = "image.cpu()" if expected.type == "cpu" else f"image.to('{expected}')"
        raise ShapeError(f"image is on {image.device}; this model was compiled for {expected}: pass {move}")
