"""What the demo shows: predictions over the picture, and what was recomputed for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from examples.street.model import Detection
from examples.street.scene import BUILDING, CAR, CLASSES, PAVEMENT, PERSON, ROAD, SKY, TREE

Picture = NDArray[np.uint8]
_COLOURS = {
    SKY: (92, 164, 240), BUILDING: (196, 132, 92), TREE: (60, 170, 70), ROAD: (110, 110, 130),
    PAVEMENT: (214, 196, 160), CAR: (240, 64, 64), PERSON: (250, 210, 40),
}  # fmt: skip
GAP_PX, CAPTION_PX = 4, 20
_WORK = np.array([255, 122, 0])


def prediction(picture: Picture, classes: NDArray[np.uint8], found: Sequence[Detection]) -> Picture:
    """The picture tinted by class, with the detections' boxes."""
    colours = np.array([_COLOURS[k] for k in range(len(CLASSES))])
    image = Image.fromarray((0.45 * picture + 0.55 * colours[classes]).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(11)
    for detection in found:
        y0, x0, y1, x1 = (round(value) for value in detection.box)
        pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=(255, 255, 255), width=2)
        text = f"{CLASSES[detection.label]} {detection.score:.2f}"
        top = max(y0 - 13, 0)
        pen.rectangle((x0, top, x0 + font.getlength(text) + 5, top + 13), fill=(20, 20, 24))
        pen.text((x0 + 3, top), text, font=font, fill=(255, 255, 255))
    return np.array(image)


def recomputed(picture: Picture, work: NDArray[np.float32], cell_px: int = 8) -> Picture:
    """The picture in grey where everything was reused, tinted where work was done: the more, the stronger.

    Args:
      picture: `(H, W, 3)` uint8.
      work: `(H / cell_px, W / cell_px)` share of the dense work, 0..1, rounded up.
    """
    height, width = picture.shape[:2]
    share = np.kron(work, np.ones((cell_px, cell_px), np.float32))[:height, :width, None]
    alpha = np.where(share > 0, 0.12 + 0.58 * np.clip(share, 0.0, 1.0), 0.0)
    grey = 0.55 * picture.mean(-1, keepdims=True) + 0.25 * picture
    return np.asarray(grey * (1 - alpha) + _WORK * alpha, np.uint8)


def captioned(picture: Picture, text: str) -> Picture:
    """The picture with a line of text below it."""
    height, width = picture.shape[:2]
    image = Image.new("RGB", (width, height + CAPTION_PX), (24, 24, 28))
    image.paste(Image.fromarray(picture), (0, 0))
    ImageDraw.Draw(image).text((6, height + 3), text, font=ImageFont.load_default(12), fill=(235, 235, 235))
    return np.array(image)


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height in a row."""
    return _joined(pictures, 1)


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one width in a column."""
    return _joined(pictures, 0)


def _joined(pictures: Sequence[Picture], axis: int) -> Picture:
    shape = list(pictures[0].shape)
    shape[axis] = GAP_PX
    gap = np.full(shape, 24, np.uint8)
    parts = [piece for picture in pictures for piece in (picture, gap)][:-1]
    return np.concatenate(parts, axis)
