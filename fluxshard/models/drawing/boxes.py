"""Boxes with rounded corners."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fluxshard.models.drawing.colours import Colour, Picture

_HALO = 140  # of 256: what is left of the picture right beside a line


def draw_box(canvas: Picture, box: NDArray[np.float32], colour: Colour, line: int) -> tuple[int, int, int, int]:
    """Draws a box, clipped to the picture, with a dark seam around it: it is seen on a ground of its own colour.

    Args:
      canvas: `(H, W, 3)` uint8 RGB; changed.
      box: x1, y1, x2, y2 in pixels.
      colour: of the line.
      line: its width in pixels.

    Returns:
      x1, y1, x2, y2 of the outermost pixels of the line.
    """
    size = canvas.shape[1::-1]
    x1, y1 = (int(np.clip(round(float(v)), 0, n - 1)) for v, n in zip(box[:2], size, strict=True))
    x2, y2 = (int(np.clip(round(float(v)), low, n - 1)) for v, low, n in zip(box[2:], (x1, y1), size, strict=True))
    _draw_seam(canvas, x1, y1, x2, y2, line)
    _draw_outline(canvas[y1 : y2 + 1, x1 : x2 + 1], colour, line)
    return x1, y1, x2, y2


def _draw_seam(canvas: Picture, x1: int, y1: int, x2: int, y2: int, line: int) -> None:
    """Darkens the pixels right outside a box."""
    wide, corner = max(1, line // 2), 2 * line
    rows, columns = slice(y1 + corner, max(y2 + 1 - corner, 0)), slice(x1 + corner, max(x2 + 1 - corner, 0))
    for part in (
        canvas[max(y1 - wide, 0) : y1, columns],
        canvas[y2 + 1 : y2 + 1 + wide, columns],
        canvas[rows, max(x1 - wide, 0) : x1],
        canvas[rows, x2 + 1 : x2 + 1 + wide],
    ):
        part[...] = part.astype(np.uint16) * _HALO >> 8


def _draw_outline(part: Picture, colour: Colour, line: int) -> None:
    """Draws the outline of a rounded rectangle along the border of a part of a picture."""
    height, width = part.shape[:2]
    corner = 4 * line  # the diameter of the rounding
    if min(height, width) <= 2 * corner + 2:
        part[_rounded(height, width, line)] = colour
        return
    square = _rounded(2 * corner + 3, 2 * corner + 3, line)
    for rows in (slice(0, corner), slice(-corner, None)):
        for columns in (slice(0, corner), slice(-corner, None)):
            part[rows, columns][square[rows, columns]] = colour
    part[:line, corner:-corner] = part[-line:, corner:-corner] = colour
    part[corner:-corner, :line] = part[corner:-corner, -line:] = colour


@lru_cache(maxsize=64)
def _rounded(height: int, width: int, line: int) -> NDArray[np.bool_]:
    """Where the outline of a rounded rectangle is, `(height, width)` bool."""
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).rounded_rectangle((0, 0, width - 1, height - 1), radius=line * 2, outline=255, width=line)
    return np.asarray(image) > 0
