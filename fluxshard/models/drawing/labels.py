"""Labels of boxes, placed so that none hides another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fluxshard.models.drawing.colours import Colour, Picture, ink_on
from fluxshard.models.drawing.text import font_of, height_of, width_of

_GRAIN = 2  # pixels; where labels are is kept on squares of this side


@dataclass(frozen=True, slots=True)
class Label:
    """What a box is called.

    Attributes:
      box: x1, y1, x2, y2 in whole pixels, inside the picture.
      texts: from the longest to the shortest: the first that finds a place is drawn.
      colour: of the ground.
    """

    box: tuple[int, int, int, int]
    texts: tuple[str, ...]
    colour: Colour


def draw_labels(canvas: Picture, labels: Sequence[Label], text_px: int, line: int) -> list[tuple[int, int, int, int]]:
    """Draws labels at their boxes, the largest box first; a label without a free place is left out.

    Above the box is tried first, then below, inside and beside it, each with the texts from long to short. Areas change
    slowly from frame to frame, scores do not: in the order of areas, labels stay where they are.

    Args:
      canvas: `(H, W, 3)` uint8 RGB; changed.
      labels: of the boxes.
      text_px: size of the text in pixels.
      line: width of the boxes' lines in pixels.

    Returns:
      x1, y1, x2, y2 of each drawn label, in the order in which they were drawn.
    """
    height, width = canvas.shape[:2]
    taken = np.zeros((-(-height // _GRAIN), -(-width // _GRAIN)), np.bool_)
    drawn = []
    for label in sorted(labels, key=lambda one: -_area(one.box)):
        found = _place(label, text_px, (height, width), taken)
        if found is None:
            continue
        text, (left, top) = found
        patch, inside = _patch(text, text_px, label.colour, line)
        rows, columns = patch.shape[:2]
        part = canvas[top : top + rows, left : left + columns]
        np.copyto(part, patch, where=inside)
        taken[_squares(top, rows), _squares(left, columns)] = True
        drawn.append((left, top, left + columns, top + rows))
    return drawn


def _place(
    label: Label, text_px: int, size: tuple[int, int], taken: NDArray[np.bool_]
) -> tuple[str, tuple[int, int]] | None:
    """The text that fits, and (x, y) of its upper left corner."""
    (x1, y1, x2, y2), (height, width) = label.box, size
    rows = _rows(text_px)
    for text in label.texts:
        columns = _columns(text, text_px)
        if columns > width:
            continue
        right = x2 + 1 - columns
        places = [(x1, y1 - rows), (right, y1 - rows), (x1, y2 + 1), (right, y2 + 1)]
        if y2 - y1 > 2 * rows:  # inside only where it leaves something to see
            places += [(x1, y1), (right, y1), (x1, y2 + 1 - rows)]
        places += [(x2 + 1, y1), (x1 - columns, y1)]
        for left, top in places:
            if not 0 <= top <= height - rows:
                continue
            left = min(max(left, 0), width - columns)
            if not taken[_squares(top, rows), _squares(left, columns)].any():
                return text, (left, top)
    return None


def _squares(start: int, length: int) -> slice:
    return slice(start // _GRAIN, -(-(start + length) // _GRAIN))


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _rows(text_px: int) -> int:
    return height_of(text_px)


def _columns(text: str, text_px: int) -> int:
    return width_of(text, text_px) + round(0.7 * text_px)


@lru_cache(maxsize=1024)
def _patch(text: str, text_px: int, colour: Colour, line: int) -> tuple[Picture, NDArray[np.bool_]]:
    """A label on its ground, and where that is, `(rows, columns, 1)`."""
    size = _columns(text, text_px), _rows(text_px)
    image, inside = Image.new("RGB", size, colour), Image.new("L", size)
    ImageDraw.Draw(image).text(
        (0.35 * text_px, size[1] / 2), text, font=font_of(text_px), fill=ink_on(colour), anchor="lm"
    )
    ImageDraw.Draw(inside).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=2 * line, fill=255)
    return np.asarray(image), (np.asarray(inside) > 0)[..., None]
