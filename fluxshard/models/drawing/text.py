"""Text set once and drawn often: what pictures of a film say repeats from frame to frame, and setting is slow."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fluxshard.models.drawing.colours import Colour, Picture


@lru_cache(maxsize=16)
def font_of(size: int) -> Any:
    """Pillow's own font in a size in pixels."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def width_of(text: str, size: int) -> int:
    """Pixels that a line of text takes."""
    return int(np.ceil(font_of(size).getlength(text)))


@lru_cache(maxsize=1024)
def set_text(text: str, size: int, ink: Colour, ground: Colour) -> Picture:
    """One line of text on a ground, `(height_of(size), width_of(text, size), 3)`; not to be changed."""
    image = Image.new("RGB", (max(width_of(text, size), 1), height_of(size)), ground)
    ImageDraw.Draw(image).text((0, height_of(size) / 2), text, font=font_of(size), fill=ink, anchor="lm")
    return np.asarray(image)


def height_of(size: int) -> int:
    """Pixels that a line of text takes in height."""
    return round(1.45 * size)
