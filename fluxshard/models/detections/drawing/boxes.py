"""Boxes with rounded corners, and their labels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fluxshard.models.detections.drawing.colours import Colour, Picture, font_of


def draw_box(canvas: Picture, box: NDArray[np.float32], label: str, colour: Colour, line: int) -> None:
    """Draws a box, clipped to the picture, with its label above it.

    Args:
      canvas: `(H, W, 3)` uint8 RGB; changed.
      box: x1, y1, x2, y2 in pixels.
      label: one line.
      colour: of the box and of the label's background.
      line: width of the outline in pixels.
    """
    height, width = canvas.shape[:2]
    size = width, height
    x1, y1 = (int(np.clip(round(float(v)), 0, n - 1)) for v, n in zip(box[:2], size, strict=True))
    x2, y2 = (int(np.clip(round(float(v)), low, n - 1)) for v, low, n in zip(box[2:], (x1, y1), size, strict=True))
    _draw_outline(canvas[y1 : y2 + 1, x1 : x2 + 1], colour, line)
    patch, inside = _label(label, max(10, round(min(width, height) / 45)), colour, line)
    label_h, label_w = patch.shape[:2]
    left = max(min(x1, width - (label_w - 1)), 0)
    top = y1 - (label_h - 1) if y1 >= label_h - 1 else y1
    part = canvas[top : top + label_h, left : left + label_w]
    rows, columns = part.shape[:2]
    np.copyto(part, patch[:rows, :columns], where=inside[:rows, :columns, None])


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


@lru_cache(maxsize=512)
def _label(text: str, font_px: int, colour: Colour, line: int) -> tuple[Picture, NDArray[np.bool_]]:
    """A label on its background, and where that is: texts repeat from frame to frame, and are slow to set."""
    font = font_of(font_px)
    width = round(font.getlength(text)) + font_px
    height = round(font_px * 1.45)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ink = (20, 20, 20) if bright else (255, 255, 255)
    image = Image.new("RGB", (width + 1, height + 1), colour)
    ImageDraw.Draw(image).text((font_px / 2, height / 2), text, font=font, fill=ink, anchor="lm")
    inside = Image.new("L", image.size)
    ImageDraw.Draw(inside).rounded_rectangle((0, 0, width, height), radius=line * 2, fill=255)
    return np.asarray(image), np.asarray(inside) > 0
