"""Where a map lies in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.mask_moves import Pair


@dataclass(frozen=True, slots=True)
class Placement:
    """From the pixels of a picture to those of what a map describes.

    Attributes:
      size: (H, W) of what the map describes: the network's image, or the canvas.
      scale: (y, x) pixels of that per picture pixel.
      offset: (y, x) position of the picture's upper left corner in that.
    """

    size: tuple[int, int]
    scale: Pair = (1.0, 1.0)
    offset: Pair = (0.0, 0.0)

    def of_picture(self, scale: Pair, offset: Pair) -> Placement:
        """The same map below another picture.

        Args:
          scale: (y, x) pixels of the picture so far per pixel of the other one.
          offset: (y, x) position of the other one's upper left corner in the picture so far.
        """
        return Placement(
            size=self.size,
            scale=(self.scale[0] * scale[0], self.scale[1] * scale[1]),
            offset=(self.offset[0] + self.scale[0] * offset[0], self.offset[1] + self.scale[1] * offset[1]),
        )

    def cells(self, cells: tuple[int, ...], shape: tuple[int, int]) -> tuple[range, range]:
        """Rows and columns of a map's cells that a picture covers for at least half.

        Args:
          cells: (h, w) of the map.
          shape: (H, W) of the picture.
        """
        rows, columns = (
            range(min(max(round(first), 0), count), min(max(round(last), 0), count))
            for first, last, count in self._spans(cells, shape)
        )
        return rows, columns

    def nearest(self, cells: tuple[int, ...], shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Row and column of the map's cell below each row and column of a picture, `(H,)` and `(W,)` int64.

        Args:
          cells, shape: see `cells`.
        """
        rows, columns = (
            np.clip(first + (np.arange(n) + 0.5) * (last - first) / n, 0, count - 1).astype(np.int64)
            for (first, last, count), n in zip(self._spans(cells, shape), shape, strict=True)
        )
        return rows, columns

    def _spans(self, cells: tuple[int, ...], shape: tuple[int, int]) -> list[tuple[float, float, int]]:
        """First and last cell of the picture along both axes, as fractions, and how many there are."""
        return [
            (offset * count / size, (offset + n * scale) * count / size, count)
            for offset, scale, n, count, size in zip(self.offset, self.scale, shape, cells, self.size, strict=True)
        ]
