"""The strip of figures below a picture: fields at fixed places, so that nothing jumps from frame to frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fluxshard.models.drawing.colours import DARK, LIGHT, Colour, Picture, ink_on
from fluxshard.models.drawing.text import font_of, height_of, set_text, width_of

MOST_ROWS = 4
_LEAST_PX = 7  # of text: smaller is not read
_BAR = (52, 56, 64)  # the empty part of a bar
_EMS = {"bar": 3.2, "ramp": 5.0, "chart": 9.0}  # widths in sizes of the text


@dataclass(frozen=True, slots=True)
class Field:
    """One entry of a strip: a drawn part, if any, and the text behind it.

    Attributes:
      text: one line.
      ink: colour of the text.
      badge: ground of the text; None for the strip's.
      swatch: a box of this colour in front of the text, darker inside: as areas are drawn, with a line around them.
      bar: a bar filled to this share, 0..1, of the colour `fill`.
      fill: of the bar.
      ramp: colours `(N, 3)` as bytes of a scale, from low to high, and the text of its low end, which stands before it.
      chart: shares of past frames, 0..1, the latest last, and their colours.
      starts_row: of the widest value: the field and those behind it stand in a row of their own.
    """

    text: str = ""
    ink: Colour = LIGHT
    badge: Colour | None = None
    swatch: Colour | None = None
    bar: float | None = None
    fill: Colour = LIGHT
    ramp: tuple[bytes, str] | None = None
    chart: tuple[tuple[float, Colour], ...] | None = None
    starts_row: bool = False


class Strip:
    """A strip of one or more rows below pictures of one size.

    Fields stand side by side in the order of their names, each as wide as its widest value, and go on in the next row
    where they do not fit; the text is set smaller where they do not fit into `MOST_ROWS` either. What a picture is too
    narrow for is left out, from the last field on.

    Args:
      width: of the pictures.
      text_px: size of the text in pixels.
      widest: the largest value of every field, by name.

    Attributes:
      height: of the strip; it is even, as films need it.
    """

    def __init__(self, width: int, text_px: int, widest: Mapping[str, Field]) -> None:
        while True:
            rows, places = _placed(width, text_px, widest)
            if rows <= MOST_ROWS or text_px <= _LEAST_PX:
                break
            text_px -= 1
        rows = min(rows, MOST_ROWS)
        self._width, self._px = width, text_px
        self._row = height_of(text_px) + round(0.55 * text_px)
        self.height = rows * self._row + rows * self._row % 2
        self._places = {name: place for name, place in places.items() if place[1] < rows}

    def draw(self, part: Picture, fields: Mapping[str, Field], edge: Colour | None = None) -> None:
        """Draws the strip.

        Args:
          part: `(height, width, 3)` uint8 RGB; overwritten.
          fields: by the names of `widest`; a name that is not there stays empty.
          edge: colour of a line along the upper edge; None for none.
        """
        part[...] = np.asarray(DARK, np.uint8)
        for name, field in fields.items():
            if name not in self._places:
                continue
            left, row, room = self._places[name]
            patch = _patch(field, self._px) if field.chart is None else _chart(field, self._px)
            patch = patch[:, : min(room, self._width - left)]
            top = row * self._row + (self._row - len(patch)) // 2
            part[top : top + len(patch), left : left + patch.shape[1]] = patch
        if edge is not None:
            part[: max(2, self._px // 6)] = np.asarray(edge, np.uint8)


def _placed(width: int, px: int, widest: Mapping[str, Field]) -> tuple[int, dict[str, tuple[int, int, int]]]:
    """Rows that are needed, and (x, row, width) of every field."""
    margin = round(0.6 * px)
    x, row, places = margin, 0, {}
    for name, field in widest.items():
        room = _width(field, px)
        if x > margin and (field.starts_row or x + room > width):
            x, row = margin, row + 1
        places[name] = x, row, room
        x += room + round(1.1 * px)
    return row + 1, places


def _width(field: Field, px: int) -> int:
    parts = _parts(field, px)
    return sum(parts) + round(0.45 * px) * (len(parts) - 1)


def _parts(field: Field, px: int) -> list[int]:
    """Widths of what a field consists of."""
    parts = []
    if field.ramp is not None:
        parts += [width_of(field.ramp[1], px)] * bool(field.ramp[1]) + [round(_EMS["ramp"] * px)]
    if field.swatch is not None:
        parts.append(px)
    if field.bar is not None:
        parts.append(round(_EMS["bar"] * px))
    if field.chart is not None:
        parts.append(round(_EMS["chart"] * px))
    if field.text:
        parts.append(width_of(field.text, px) + (round(0.9 * px) if field.badge is not None else 0))
    return parts or [0]


@lru_cache(maxsize=512)
def _patch(field: Field, px: int) -> Picture:
    """A field on the strip's ground; not to be changed."""
    height, gap = height_of(px), round(0.45 * px)
    patch = np.empty((height, max(_width(field, px), 1), 3), np.uint8)
    patch[...] = DARK
    x = 0
    low, high = round(0.22 * height), round(0.78 * height)
    if field.ramp is not None:
        colours, label = field.ramp
        if label:
            x += _put(patch, x, set_text(label, px, field.ink, DARK)) + gap
        steps = np.frombuffer(colours, np.uint8).reshape(-1, 3)
        wide = round(_EMS["ramp"] * px)
        patch[low:high, x : x + wide] = steps[np.arange(wide) * len(steps) // wide]
        x += wide + gap
    if field.swatch is not None:
        seam = max(1, px // 8)
        patch[low:high, x : x + px] = field.swatch
        patch[low + seam : high - seam, x + seam : x + px - seam] = np.asarray(field.swatch) * 2 // 5
        x += px + gap
    if field.bar is not None:
        wide = round(_EMS["bar"] * px)
        patch[low:high, x : x + wide] = _BAR
        share = min(max(field.bar, 0.0), 1.0) if np.isfinite(field.bar) else 0.0
        patch[low:high, x : x + round(share * wide)] = field.fill
        x += wide + gap
    if field.text and field.badge is None:
        _put(patch, x, set_text(field.text, px, field.ink, DARK))
    elif field.text:
        image = Image.new("RGB", (patch.shape[1] - x, height), DARK)
        pen = ImageDraw.Draw(image)
        pen.rounded_rectangle((0, 0, image.width - 1, height - 1), radius=height // 4, fill=field.badge)
        assert field.badge is not None
        ink = ink_on(field.badge)
        pen.text((image.width / 2, height / 2), field.text, font=font_of(px), fill=ink, anchor="mm")
        _put(patch, x, np.asarray(image))
    return patch


def _put(patch: Picture, x: int, part: Picture) -> int:
    """Copies a part to its place; returns its width."""
    patch[:, x : x + part.shape[1]] = part[:, : patch.shape[1] - x]
    return int(part.shape[1])


def _chart(field: Field, px: int) -> Picture:
    """Past frames as columns, the latest at the right."""
    assert field.chart is not None
    height, wide = height_of(px), round(_EMS["chart"] * px)
    patch = np.empty((height, wide, 3), np.uint8)
    patch[...] = DARK
    patch[-1] = _BAR
    column = chart_columns(px)[1]
    shown: Sequence[tuple[float, Colour]] = field.chart[-(wide // column) :]
    for index, (share, colour) in enumerate(reversed(shown)):
        right = wide - index * column
        tall = max(1, round(min(max(share, 0.0), 1.0) * height)) if np.isfinite(share) else 1
        patch[height - tall :, right - column : right - (column > 2)] = colour
    return patch


def chart_columns(px: int) -> tuple[int, int]:
    """Frames that a chart shows at most, and pixels of each."""
    wide, column = round(_EMS["chart"] * px), max(1, round(px / 9))
    return wide // column, column


def ramp_bytes(colours: NDArray[np.uint8]) -> bytes:
    """`(N, 3)` uint8 colours as `Field.ramp` takes them."""
    return np.ascontiguousarray(colours).tobytes()
