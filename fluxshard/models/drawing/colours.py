"""Colours of classes, of objects and of work, and sizes of lines."""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WORK = (0, 190, 255)  # the recomputed area: opposite to sand, skin, wood and brick, and no class has it
WHOLE = (255, 176, 0)  # frames that were computed whole
CARRIED = (150, 160, 175)  # frames that were not computed
LIGHT, DARK = (240, 240, 240), (24, 26, 30)  # text and the ground of the strip
DIM = (150, 156, 166)  # text that only names what stands beside it

_HUES = (0.70, 1.38)  # from violet over red to green: nothing found looks like WORK


@lru_cache(maxsize=4096)
def colour_of(index: int) -> Colour:
    """RGB colour of a class or an object; hues advance by the golden ratio, which keeps nearby indices distinct."""
    turn = (0.36 + index * 0.618034) % 1
    hue = (_HUES[0] + turn * (_HUES[1] - _HUES[0])) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, (0.66, 0.56, 0.74)[index % 3], 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def ink_on(colour: Colour) -> Colour:
    """Dark or white text, whichever is read better on a colour."""
    return (20, 20, 20) if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140 else (255, 255, 255)


def line_px(size: tuple[int, int]) -> int:
    """Width of lines in a picture of (h, w) pixels: in proportion to the root of its area, at least 1."""
    return max(1, round(_side(size) / 400))


def text_px(size: tuple[int, int]) -> int:
    """Size of text in a picture of (h, w) pixels: in proportion to the root of its area, at least 9."""
    return max(9, round(_side(size) / 58))


def _side(size: tuple[int, int]) -> float:
    return math.sqrt(size[0] * size[1])
