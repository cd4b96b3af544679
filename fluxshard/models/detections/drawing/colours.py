"""Colours of classes and of work, and fonts."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WORK = (255, 122, 0)  # tint of the recomputed area


def colour_of(class_index: int) -> Colour:
    """RGB colour of a class; hues advance by the golden ratio, which keeps nearby indices distinct."""
    red, green, blue = colorsys.hls_to_rgb(
        (0.99 + class_index * 0.618034) % 1, (0.66, 0.56, 0.74)[class_index % 3], 0.95
    )
    return round(255 * red), round(255 * green), round(255 * blue)


@lru_cache(maxsize=16)
def font_of(size: int) -> Any:
    """Pillow's own font in a size in pixels."""
    return ImageFont.load_default(size)
