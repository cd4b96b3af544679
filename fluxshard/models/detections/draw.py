"""Drawing of detections and of the recomputed area."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.mask_moves import Pair

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WORK = (255, 122, 0)  # tint of the recomputed area
DRAWN_KEYPOINT = 0.5  # smallest confidence of a drawn keypoint
# COCO's 17 keypoints: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles (left before right)
HEAD, LEFT, RIGHT, TRUNK = (255, 214, 92), (72, 214, 255), (255, 120, 170), (170, 235, 150)
COCO_LIMBS: tuple[tuple[int, int, Colour], ...] = (
    (0, 1, HEAD), (0, 2, HEAD), (1, 3, HEAD), (2, 4, HEAD),
    (5, 6, TRUNK), (5, 11, TRUNK), (6, 12, TRUNK), (11, 12, TRUNK),
    (5, 7, LEFT), (7, 9, LEFT), (11, 13, LEFT), (13, 15, LEFT),
    (6, 8, RIGHT), (8, 10, RIGHT), (12, 14, RIGHT), (14, 16, RIGHT),
)  # fmt: skip


def colour_of(class_index: int) -> Colour:
    """RGB colour of a class; hues advance by the golden ratio, which keeps nearby indices distinct."""
    red, green, blue = colorsys.hls_to_rgb(
        (0.99 + class_index * 0.618034) % 1, (0.66, 0.56, 0.74)[class_index % 3], 0.95
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_detections(picture: Picture, found: Detections, names: tuple[str, ...] = ()) -> Picture:
    """Draws masks, boxes with labels, and skeletons.

    Args:
      picture: `(H, W, 3)` uint8 RGB, not modified.
      found: detections in pixels of the picture.
      names: class names; classes without a name show their index.

    Returns:
      new `(H, W, 3)` uint8 picture.
    """
    canvas = picture.copy()
    people = found.keypoints is not None
    for index in reversed(range(len(found))):  # the highest score is drawn last, on top
        if found.masks is not None:
            _tint_mask(canvas, found, index)
    image = Image.fromarray(canvas)
    line = _line_px(picture)
    for index in reversed(range(len(found))):
        if found.keypoints is not None:
            _draw_skeleton(image, found.keypoints[index], line)
    pen = ImageDraw.Draw(image)
    for index in reversed(range(len(found))):
        class_index = int(found.classes[index])
        name = names[class_index] if 0 <= class_index < len(names) else str(class_index)
        colour = colour_of(index) if people else colour_of(class_index)
        _draw_box(
            pen,
            found.boxes[index],
            f"{name} {found.scores[index]:.2f}",
            colour,
            max(line - 1, 1) if people else line,
            image.size,
        )
    return np.array(image)


def draw_work(picture: Picture, work: NDArray[np.float32], scale: Pair, offset: Pair, cell_px: int = 8) -> Picture:
    """Tints the recomputed area in proportion to the work; reused pixels keep their colour.

    Args:
      picture: `(H, W, 3)` uint8 RGB, not modified.
      work: `(Hc, Wc)` float32 fraction of work per cell of the letterboxed image, 0..1.
      scale: (y, x) letterboxed pixels per picture pixel.
      offset: (y, x) position of the picture's upper left corner in the letterboxed image.
      cell_px: side of a cell in letterboxed pixels.

    Returns:
      new `(H, W, 3)` uint8 picture.
    """
    height, width = picture.shape[:2]
    rows = _cells(height, scale[0], offset[0], cell_px, work.shape[0])
    columns = _cells(width, scale[1], offset[1], cell_px, work.shape[1])
    share = np.clip(np.nan_to_num(work), 0, 1)
    weights = np.where(share > 0, 0.10 + 0.32 * share, 0)
    alpha = (weights * 256).astype(np.uint16)[rows][:, columns][..., None]
    tinted = (picture * (256 - alpha) + np.asarray(WORK, np.uint16) * alpha) >> 8
    return tinted.astype(np.uint8)


def draw_caption(picture: Picture, text: str) -> Picture:
    """Writes one line of text on a dark translucent strip along the lower edge; returns a new picture."""
    image = Image.fromarray(picture)
    size = max(11, round(picture.shape[0] * 0.026))
    font = _font(size)
    while size > 8 and font.getlength(text) + 2 * size > image.width:
        size -= 1
        font = _font(size)
    height = round(size * 1.9)
    top = image.height - height
    strip = np.array(image)[top:]
    image.paste(Image.fromarray((strip.astype(np.uint16) * 90 >> 8).astype(np.uint8)), (0, top))
    ImageDraw.Draw(image).text((size, top + height / 2), text, font=font, fill=(245, 245, 245), anchor="lm")
    return np.array(image)


def _cells(length: int, scale: float, offset: float, cell_px: int, cells: int) -> NDArray[np.int64]:
    """Index of the cell below each of `length` picture pixels along one axis."""
    position = (np.arange(length) + 0.5) * scale + offset
    return np.clip(np.floor(position / cell_px), 0, cells - 1).astype(np.int64)


def _line_px(picture: Picture) -> int:
    """Line width for the size of the picture."""
    shorter: int = min(picture.shape[0], picture.shape[1])
    return max(2, round(shorter / 300))


def _tint_mask(canvas: Picture, found: Detections, index: int) -> None:
    """Tints a mask and draws its outline, in place."""
    rows, columns, mask = found.mask(index)
    if not mask.any():
        return
    part = canvas[rows.start : rows.stop, columns.start : columns.stop]
    colour = np.asarray(colour_of(int(found.classes[index])), np.uint16)
    part[mask] = (part[mask].astype(np.uint16) * 140 + colour * 116) >> 8
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    part[mask & ~inner] = colour.astype(np.uint8)


def _draw_box(
    pen: ImageDraw.ImageDraw, box: NDArray[np.float32], label: str, colour: Colour, line: int, size: tuple[int, int]
) -> None:
    """Draws a box and its label; `size` is (width, height) of the picture."""
    width, height = size
    x1, y1 = (int(np.clip(round(float(v)), 0, n - 1)) for v, n in zip(box[:2], size, strict=True))
    x2, y2 = (int(np.clip(round(float(v)), low, n - 1)) for v, low, n in zip(box[2:], (x1, y1), size, strict=True))
    pen.rounded_rectangle((x1, y1, x2, y2), radius=line * 2, outline=colour, width=line)
    font_px = max(10, round(min(width, height) / 45))
    font = _font(font_px)
    text_width = round(font.getlength(label)) + font_px
    text_height = round(font_px * 1.45)
    left = max(min(x1, width - text_width), 0)
    top = y1 - text_height if y1 >= text_height else y1
    pen.rounded_rectangle((left, top, left + text_width, top + text_height), radius=line * 2, fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ink = (20, 20, 20) if bright else (255, 255, 255)
    pen.text((left + font_px / 2, top + text_height / 2), label, font=font, fill=ink, anchor="lm")


def _draw_skeleton(image: Image.Image, keypoints: NDArray[np.float32], line: int) -> None:
    """Draws limbs and keypoints, antialiased by supersampling twice per axis."""
    seen = np.isfinite(keypoints[:, 0]) & np.isfinite(keypoints[:, 1])
    if keypoints.shape[1] > 2:
        seen &= keypoints[:, 2] >= DRAWN_KEYPOINT
    if not seen.any():
        return
    margin = 3 * line
    low = np.floor(np.clip(keypoints[seen, :2].min(0) - margin, 0, image.size)).astype(int)
    high = np.ceil(np.clip(keypoints[seen, :2].max(0) + margin, 0, image.size)).astype(int)
    if (high <= low).any():
        return
    width, height = (high - low).tolist()
    layer = Image.new("RGBA", (2 * width, 2 * height))
    pen = ImageDraw.Draw(layer)
    points = [tuple(2 * (point - low)) for point in keypoints[:, :2].astype(np.float64)]
    if len(points) == 17:
        for a, b, colour in COCO_LIMBS:
            if seen[a] and seen[b]:
                pen.line((*points[a], *points[b]), fill=(*colour, 235), width=3 * line, joint="curve")
    for index in np.flatnonzero(seen).tolist():
        x, y = points[index]
        radius = 2.2 * line + 1
        pen.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255, 255), outline=(30, 30, 30, 255)
        )
    layer = layer.reduce(2)
    image.paste(layer, (int(low[0]), int(low[1])), layer)


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
