"""What a session takes as an image."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError

Picture: TypeAlias = Tensor | NDArray[np.uint8]

_EXPECTED = "(1, C, H, W) torch.float32 or torch.uint8, or a picture (H, W, 3) of uint8"


def checked_image(given: Any) -> Tensor:
    """An image, or a picture as one: `(1, C, H, W)` float32, or uint8 of any strides.

    Nothing is copied but what torch has no view of: arrays that are mirrored or read-only.

    Args:
      given: `(1, C, H, W)` float32 or uint8, or `(H, W, 3)` uint8 of torch or numpy.

    Raises:
      ShapeError: anything else.
    """
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 3:
        given = torch.from_numpy(given if min(given.strides) >= 0 and given.flags.writeable else given.copy("C"))
    if not isinstance(given, torch.Tensor):
        seen = f"; this is {given.shape} {given.dtype}" if isinstance(given, np.ndarray) else ""
        raise ShapeError(f"image is a {type(given).__name__}; expected a float32 tensor, or bytes: {_EXPECTED}{seen}")
    seen = f"image is {tuple(given.shape)} {given.dtype}"
    if given.dim() == 3 and given.dtype == torch.uint8:
        if given.shape[2] != 3:
            raise ShapeError(f"{seen}; expected {_EXPECTED}: pass planes as image[None]")
        return given.permute(2, 0, 1)[None]
    if given.dim() != 4 or given.dtype not in (torch.float32, torch.uint8):
        raise ShapeError(f"{seen}; expected {_EXPECTED}: pass {'image.float()' if given.dim() == 4 else 'image[None]'}")
    if given.dtype == torch.uint8 and given.shape[3] == 3 and given.shape[1] != 3:
        raise ShapeError(f"{seen}; expected {_EXPECTED}, one at a time: pass image[0]")
    if given.shape[0] != 1:
        raise ShapeError(
            f"image has batch {given.shape[0]}; a session runs one frame at a time: make one session per stream, and "
            "pass image[:1]"
        )
    return given


def check_device(image: Tensor, expected: torch.device) -> None:
    """Refuses an image that is not where its model runs.

    Raises:
      ShapeError: an image on another device.
    """
    if image.device.type != expected.type or (expected.index is not None and image.device.index != expected.index):
        move = "image.cpu()" if expected.type == "cpu" else f"image.to('{expected}')"
        raise ShapeError(f"image is on {image.device}; this model was compiled for {expected}: pass {move}")
