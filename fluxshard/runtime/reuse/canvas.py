"""The phase-locked canvas: the image is placed so that the dominant motion becomes a multiple of every stride.

Features of stride S move by whole cells of S pixels. On a canvas that is larger than the image, the image's offset
takes up the rest: with `o_t = (o_{t-1} - g) mod S_max`, g the dominant motion, content that moves by g stands still on
the canvas, or jumps by multiples of S_max. So what a panning camera sees is reused exactly at every stride.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fluxshard.motion import CELL_PX, MotionField, centres
from fluxshard.runtime.pixel_values import PixelValues

Offset = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A frame on the canvas.

    Attributes:
      image: `(1, C, H + canvas_px, W + canvas_px)`, valid until the next call of `Canvas.place`.
      motion: in pixels of the canvas; what surrounds the image does not move. None where nothing is known.
      origin: (y, x) of the image on the canvas.
    """

    image: Tensor
    motion: MotionField | None
    origin: Offset


class Canvas:
    """Places the frames of one stream.

    Args:
      size: (H, W) of the images.
      canvas_px: how much larger the canvas is, per axis; offsets are taken modulo it.
      fill: value of the canvas around the image.
      pixels: what the bytes of images stand for.
    """

    def __init__(self, size: tuple[int, int], canvas_px: int, fill: float, pixels: PixelValues | None = None) -> None:
        self._size = size
        self._canvas_px = canvas_px
        self._fill = fill
        self._pixels = pixels or PixelValues()
        self._fill_byte = self._pixels.byte(fill)  # None: no byte stands for it, and the canvas is of floats
        self._buffer: Tensor | None = None
        self.origin: Offset = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the canvas."""
        return self._size[0] + self._canvas_px, self._size[1] + self._canvas_px

    def place(self, image: Tensor, motion: MotionField | None) -> Placement:
        """Places the next frame; the offset is kept by `commit`.

        Args:
          image: `(1, C, H, W)`, float32 or bytes.
          motion: since the frame before, in pixels of the image; None where nothing is known: the offset stays.
        """
        fill = self._fill_byte if image.dtype == torch.uint8 else None
        if fill is None:
            image = self._pixels.floats(image)
        origin = before = self.origin
        if motion is not None:
            dominant = dominant_motion(motion)
            y, x = ((at - by) % self._canvas_px for at, by in zip(before, dominant, strict=True))
            origin = y, x
        (height, width), (top, left) = self._size, origin
        if self._buffer is None or self._buffer.device != image.device or self._buffer.dtype != image.dtype:
            # bytes stay in the order in which pictures come
            kept = torch.channels_last if image.dtype == torch.uint8 else torch.contiguous_format
            self._buffer = torch.empty(
                (1, image.shape[1], *self.size), dtype=image.dtype, device=image.device, memory_format=kept
            )
        canvas = self._buffer.fill_(self._fill if fill is None else fill)
        canvas[:, :, top : top + height, left : left + width] = image
        if motion is None:
            return Placement(canvas, None, origin)
        return Placement(canvas, self._moved(motion, before, origin), origin)

    def commit(self, placement: Placement) -> None:
        """Takes a placement: the next frame is placed from its offset."""
        self.origin = placement.origin

    def _moved(self, motion: MotionField, before: Offset, origin: Offset) -> MotionField:
        """Motion on the canvas's cells: that of the image's cell below the centre, and the change of the offset."""
        by = origin[0] - before[0], origin[1] - before[1]
        rows, columns = (centres(px) - at for px, at in zip(self.size, origin, strict=True))
        inside_y, inside_x = (rows >= 0) & (rows < self._size[0]), (columns >= 0) & (columns < self._size[1])
        inside = inside_y[:, None] & inside_x[None, :]
        where = np.ix_(
            np.clip(rows, 0, self._size[0] - 1) // motion.cell_px,
            np.clip(columns, 0, self._size[1] - 1) // motion.cell_px,
        )
        displacement = motion.displacement[where].astype(np.int64) + np.asarray(by)
        displacement[~inside] = 0
        return MotionField(displacement, motion.valid[where] | ~inside, CELL_PX)


def dominant_motion(motion: MotionField) -> Offset:
    """The motion of most cells, (dy, dx) in pixels; of equally many, the one that comes first in order of (dy, dx)."""
    known = motion.displacement[motion.valid].astype(np.int64)
    if not len(known):
        return 0, 0
    low = known.min(0)
    span = known.max(0) - low + 1
    vectors, counts = np.unique((known[:, 0] - low[0]) * span[1] + known[:, 1] - low[1], return_counts=True)
    y, x = divmod(int(vectors[counts.argmax()]), int(span[1]))
    return int(y + low[0]), int(x + low[1])


def zero_canvas(example: Tensor, canvas_px: int) -> Tensor:
    """An example of the canvas for images like `example`."""
    _, _, height, width = example.shape
    return torch.zeros((1, example.shape[1], height + canvas_px, width + canvas_px), dtype=example.dtype)
