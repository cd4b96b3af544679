"""Letterboxing: placement of pictures in images of the network's input size with their aspect ratio preserved."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import VideoError

GREY = 114  # bars of the YOLO family's training images. Source: Ultralytics' LetterBox
MULTIPLE_PX = 32  # cumulative stride of common detectors, which must divide input sizes

Size = tuple[int, int]  # (height, width)
_SQUARE = Fraction(1)


@dataclass(frozen=True, slots=True, init=False)
class Letterbox:
    """Placement of a picture in an image of the network's input size.

    With `size`, the picture is scaled to the largest size that fits, as it is shown, and centred. Without, it is not
    scaled: it is in the upper left corner of an image padded to multiples of 32 px, so that cells coincide with the
    codec's blocks.

    Attributes:
      picture_size: (h, w) of the picture.
      size: (H, W) of the image; None as argument pads the picture's own size.
      pixel_aspect: width over height of the picture's pixels as they are shown; only an argument.
      content_size: (rows, columns) of the scaled picture.
      offset: (y, x) of its upper left corner in the image.

    Raises:
      VideoError: a size is not in positive whole pixels.
    """

    picture_size: Size
    size: Size
    content_size: Size
    offset: Size

    def __init__(self, picture_size: Size, size: Size | None = None, pixel_aspect: Fraction = _SQUARE) -> None:
        _check("picture size", picture_size)
        height, width = picture_size
        if size is None:
            size = _padded(height), _padded(width)
            content, offset = picture_size, (0, 0)
        else:
            _check("size", size)
            rows, columns = size
            shown_height, shown_width = height * pixel_aspect.denominator, width * pixel_aspect.numerator
            if rows * shown_width <= columns * shown_height:
                content = rows, max(1, _divide_half_up(shown_width * rows, shown_height))
            else:
                content = max(1, _divide_half_up(shown_height * columns, shown_width)), columns
            offset = (rows - content[0]) // 2, (columns - content[1]) // 2
        for name, value in (
            ("picture_size", picture_size),
            ("size", size),
            ("content_size", content),
            ("offset", offset),
        ):
            object.__setattr__(self, name, value)

    @property
    def scale(self) -> tuple[float, float]:
        """(y, x) image pixels per picture pixel; where pixels are square, the axes differ by the rounding only."""
        return self.content_size[0] / self.picture_size[0], self.content_size[1] / self.picture_size[1]

    @property
    def crop(self) -> tuple[range, range]:
        """Rows and columns of the image that the picture covers; the rest is bars."""
        (top, left), (rows, columns) = self.offset, self.content_size
        return range(top, top + rows), range(left, left + columns)

    def apply(self, picture: NDArray[np.uint8]) -> Tensor:
        """Letterboxes a `(h, w, 3)` uint8 picture to `(1, 3, H, W)` float32 in 0..1.

        Raises:
          VideoError: the picture has another size or dtype.
        """
        return to_image(self.place(picture))

    def place(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Letterboxes a `(h, w, 3)` uint8 picture to `(H, W, 3)` uint8 with grey bars.

        Raises:
          VideoError: the picture has another size or dtype.
        """
        if picture.shape != (*self.picture_size, 3) or picture.dtype != np.uint8:
            raise VideoError(
                f"picture has shape {picture.shape} and dtype {picture.dtype}; "
                f"expected {(*self.picture_size, 3)} and uint8"
            )
        if self.content_size != self.picture_size:
            # with a batch axis of torch's, whose stride tells it that channels are last (one of numpy's has none): it
            # then resizes the pixels where they are, in this thread, and returns them in the same order
            planes = torch.from_numpy(np.ascontiguousarray(picture)).unsqueeze(0).permute(0, 3, 1, 2)
            # antialias: without it, static content flickers under subpixel camera motion
            planes = torch.nn.functional.interpolate(planes, size=self.content_size, mode="bilinear", antialias=True)
            picture = planes[0].permute(1, 2, 0).numpy()
        if self.content_size == self.size:
            return np.ascontiguousarray(picture)
        placed = np.empty((*self.size, 3), np.uint8)
        rows, columns = self.crop
        placed[: rows.start] = placed[rows.stop :] = GREY
        placed[:, : columns.start] = placed[:, columns.stop :] = GREY
        placed[rows.start : rows.stop, columns.start : columns.stop] = picture
        return placed

    def points_to_picture(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Maps `(..., 2)` positions (x, y) in the image to the picture, without clipping.

        Positions are continuous: pixel (i, j) covers `[i, i + 1) x [j, j + 1)`.
        """
        origin = np.asarray(self.offset[::-1], np.float32)
        step = np.asarray(self.scale[::-1], np.float32)
        return np.asarray((points - origin) / step, np.float32)

    def boxes_to_picture(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Maps `(N, 4)` boxes x1, y1, x2, y2 in the image to the picture, clipped to it."""
        corners = self.points_to_picture(np.asarray(boxes).reshape(-1, 2, 2))
        limit = np.asarray(self.picture_size[::-1], np.float32)
        return np.clip(corners, 0, limit).reshape(-1, 4)

    def masks_to_picture(self, masks: Tensor) -> Tensor:
        """Resamples `(N, H, W)` masks or scores of the image to `(N, h, w)`: bool to bool, numbers to float32."""
        rows, columns = self.crop
        content = masks[:, rows.start : rows.stop, columns.start : columns.stop][None].float()
        scaled = torch.nn.functional.interpolate(content, size=self.picture_size, mode="bilinear", align_corners=False)[
            0
        ]
        return scaled > 0.5 if masks.dtype == torch.bool else scaled


def to_image(pixels: NDArray[np.uint8]) -> Tensor:
    """Converts `(H, W, 3)` uint8 to `(1, 3, H, W)` float32 in 0..1."""
    image = np.empty((1, 3, *pixels.shape[:2]), np.float32)
    # numpy: waking torch's threads for one millisecond of work can take ten on busy cores
    np.divide(pixels.transpose(2, 0, 1)[None], np.float32(255), out=image)
    return torch.from_numpy(image)


def to_planes(pixels: NDArray[np.uint8]) -> Tensor:
    """`(H, W, 3)` uint8 as `(1, 3, H, W)`: a view, whose channels stay together in memory.

    What is read-only is copied.
    """
    pixels = pixels if pixels.flags.writeable else pixels.copy()  # torch has no tensors that are
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)


def _divide_half_up(numerator: int, denominator: int) -> int:
    """Quotient rounded to the nearest integer, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)


def _padded(length_px: int) -> int:
    """Smallest multiple of `MULTIPLE_PX` that is not below the length."""
    return -(-length_px // MULTIPLE_PX) * MULTIPLE_PX


def _check(name: str, size: Size) -> None:
    """Checks a size.

    Raises:
      VideoError: it is not in positive whole pixels.
    """
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not pair or any(isinstance(length, bool) or not isinstance(length, int) or length < 1 for length in size):
        raise VideoError(f"{name} (={size!r}) must be (height, width) in whole pixels, both at least 1")
