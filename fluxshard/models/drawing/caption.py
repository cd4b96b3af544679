"""One line of text along the lower edge."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from fluxshard.models.drawing.colours import Picture
from fluxshard.models.drawing.text import font_of

_DARKENED = 90  # of 256: what is left of the picture below the text


def write_caption(canvas: Picture, text: str) -> None:
    """Writes a line of text on a dark translucent strip along the lower edge.

    Args:
      canvas: `(H, W, 3)` uint8 RGB; changed.
      text: set smaller where it does not fit.
    """
    height, width = canvas.shape[:2]
    size = max(11, round(height * 0.026))
    font = font_of(size)
    length = font.getlength(text)
    while size > 8 and length + 2 * size > width:
        size -= 1
        font = font_of(size)
        length = font.getlength(text)
    strip = canvas[max(height - round(size * 1.9), 0) :]
    strip[...] = strip.astype(np.uint16) * _DARKENED >> 8
    # what the text covers only: pictures go into Pillow and come back by copying
    part = strip[:, : min(round(length) + 3 * size, width)]
    image = Image.fromarray(part)
    ImageDraw.Draw(image).text(
        (size, round(size * 1.9) / 2 - (round(size * 1.9) - len(strip))), text, font=font, fill=(245, 245, 245),
        anchor="lm",
    )  # fmt: skip
    part[...] = np.asarray(image)
