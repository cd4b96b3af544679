"""Placing a picture of any shape on the network's grid without distorting it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import VideoError

GREY = 114  # the bars that the YOLO family is trained with
MULTIPLE_PX = 32  # cumulative stride of the usual detectors: sizes chosen here divide by it

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, init=False)
class Letterbox:
    """Where the pixels of a picture lie in the network's image.

    With a `size` the picture is scaled as large as fits, and centred. Without, it keeps its pixels: it lies in the
    upper left corner of an image padded to multiples of 32 px, so that cells coincide with blocks of the codec.

    Attributes:
      picture_size: (h, w) of the picture.
      size: (H, W) of the image; leave it out for the picture's own size, padded.
      content_size: (rows, columns) of the image that the picture covers.
      offset: (y, x) of the first of them.

    Raises:
      VideoError: a size that is not positive whole pixels.
    """

    picture_size: Size
    size: Size
    content_size: Size
    offset: Size

    def __init__(self, picture_size: Size, size: Size | None = None) -> None:
        _check("picture size", picture_size)
        height, width = picture_size
        if size is None:
            size = _padded(height), _padded(width)
            content, offset = picture_size, (0, 0)
        else:
            _check("size", size)
            rows, columns = size
            if rows * width <= columns * height:
                content = rows, max(1, _divide_half_up(width * rows, height))
            else:
                content = max(1, _divide_half_up(height * columns, width)), columns
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
        """(y, x) image pixels per picture pixel; the axes differ only by the rounding of `content_size`."""
        return self.content_size[0] / self.picture_size[0], self.content_size[1] / self.picture_size[1]

    @property
    def crop(self) -> tuple[range, range]:
        """Rows and columns of the image that show the picture; the rest are bars."""
        (top, left), (rows, columns) = self.offset, self.content_size
        return range(top, top + rows), range(left, left + columns)

    def apply(self, picture: NDArray[np.uint8]) -> Tensor:
        """Scales and places a `(h, w, 3)` uint8 picture: `(1, 3, H, W)` float32 in 0..1."""
        return to_image(self.place(picture))

    def place(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scales and places a `(h, w, 3)` uint8 picture: `(H, W, 3)` uint8, bars grey.

        Raises:
          VideoError: a picture of another size.
        """
        if picture.shape != (*self.picture_size, 3) or picture.dtype != np.uint8:
            raise VideoError(
                f"picture has shape {picture.shape} and dtype {picture.dtype}; "
                f"expected {(*self.picture_size, 3)} and uint8"
            )
        if self.content_size != self.picture_size:
            planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
            # antialias: without it a static scene flickers wherever the camera moves by a fraction of a pixel
            planes = torch.nn.functional.interpolate(planes, size=self.content_size, mode="bilinear", antialias=True)
            picture = planes[0].permute(1, 2, 0).numpy()
        if self.content_size == self.size:
            return np.ascontiguousarray(picture)
        placed = np.full((*self.size, 3), GREY, np.uint8)
        rows, columns = self.crop
        placed[rows.start : rows.stop, columns.start : columns.stop] = picture
        return placed

    def points_to_picture(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Maps `(..., 2)` positions (x, y) of the image to the picture; they are not clipped.

        Positions are continuous: pixel (i, j) covers `[i, i + 1) x [j, j + 1)`.
        """
        origin = np.asarray(self.offset[::-1], np.float32)
        step = np.asarray(self.scale[::-1], np.float32)
        return np.asarray((points - origin) / step, np.float32)

    def boxes_to_picture(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Maps `(N, 4)` boxes x1, y1, x2, y2 of the image to the picture, clipped to it."""
        corners = self.points_to_picture(np.asarray(boxes).reshape(-1, 2, 2))
        limit = np.asarray(self.picture_size[::-1], np.float32)
        return np.clip(corners, 0, limit).reshape(-1, 4)

    def masks_to_picture(self, masks: Tensor) -> Tensor:
        """Maps `(N, H, W)` masks or scores of the image to `(N, h, w)`: bool stays bool, numbers become float32."""
        rows, columns = self.crop
        content = masks[:, rows.start : rows.stop, columns.start : columns.stop][None].float()
        scaled = torch.nn.functional.interpolate(content, size=self.picture_size, mode="bilinear", align_corners=False)[
            0
        ]
        return scaled > 0.5 if masks.dtype == torch.bool else scaled


def to_image(pixels: NDArray[np.uint8]) -> Tensor:
    """Turns `(H, W, 3)` uint8 into `(1, 3, H, W)` float32 in 0..1."""
    image = np.empty((1, 3, *pixels.shape[:2]), np.float32)
    # numpy: waking torch's threads for a millisecond of work can cost ten where the cores are busy
    np.divide(pixels.transpose(2, 0, 1)[None], np.float32(255), out=image)
    return torch.from_numpy(image)


def _divide_half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _padded(length_px: int) -> int:
    return -(-length_px // MULTIPLE_PX) * MULTIPLE_PX


def _check(name: str, size: Size) -> None:
    if len(size) != 2 or any(isinstance(length, bool) or not isinstance(length, int) or length < 1 for length in size):
        raise VideoError(f"{name} (={size!r}) must be (height, width) in whole pixels, both at least 1")
