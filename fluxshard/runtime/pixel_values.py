"""What the bytes of a uint8 picture stand for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PixelValues:
    """The value of each byte, evenly spaced.

    Args:
      low, high: values of black and white, as in `PlannedOptions.pixel_range`.

    Attributes:
      table: (256,) float32, byte p is `low + p * (high - low) / 255`, rounded once; from 0 to 1 that is `p / 255`.
      exact: rounding the values to bytes, as planned reuse does, gives the bytes. Not so where the range is so narrow
        and so far from zero that values are equal.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.table: NDArray[np.float32] = (low + np.arange(256) * (high - low) / 255).astype(np.float32)
        whole = np.rint((self.table - np.float32(low)) * np.float32(255 / (high - low)))
        self._there: dict[torch.device, Tensor] = {}  # the table where images are
        self.exact = bool((whole == np.arange(256)).all())

    def floats(self, image: Tensor) -> Tensor:
        """An image of any type as float32, contiguous, where it is; uint8 through the table.

        Args:
          image: `(1, C, H, W)` uint8 of any strides, or float32.
        """
        if image.dtype != torch.uint8:
            return _laid_out(image)
        if image.device.type == "cpu":
            return _laid_out(torch.from_numpy(self.table[image.numpy()]))
        table = self._there.get(image.device)
        if table is None:
            with torch.inference_mode(False):  # it is kept, whether the caller is in it or not
                table = self._there[image.device] = torch.from_numpy(self.table).to(image.device)
        return table[image.contiguous().int()]  # not a division: torch multiplies by the inverse on a GPU

    def byte(self, value: float) -> int | None:
        """The first byte that stands for a value as float32; None where none does."""
        found = np.flatnonzero(self.table == np.float32(value))
        return int(found[0]) if len(found) else None


def _laid_out(image: Tensor) -> Tensor:
    """The image in the order of its axes, with the strides of that order also where an axis has a length of 1.

    torch asks strides whether channels are last, and then takes a convolution that rounds otherwise.
    """
    _, channels, height, width = image.shape
    if image.stride() == (channels * height * width, height * width, width, 1):
        return image
    return image.contiguous().view(-1).view(image.shape)
