"""Lossless pixels of a frame: only those that its mask flags, by prediction from their neighbours.

Two codings. "median" predicts pixels in place (`pixels/median_predictor.py`) and compresses what is left with
Zstandard; it takes generated C++ where there is a compiler, otherwise numpy, with equal bytes. "jpeg_xl" packs the
flagged tiles into a picture for lossless JPEG XL, and leaves pictures of more than 2048 px a side to "median"; it takes
more bytes and more time (docs/benchmarks.md), and is for edges that have imagecodecs but no compiler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.compression import compress_noise, decompress
from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.checks import check_mask, check_pixels, check_size
from fluxshard.cloud.wire.pixels.cpp_median_predictor import median_predictor
from fluxshard.cloud.wire.pixels.jpeg_xl import MOST_JPEG_XL_PX, decode_jpeg_xl, encode_jpeg_xl, require_jpeg_xl
from fluxshard.cloud.wire.pixels.median_predictor import MedianPredictor
from fluxshard.cloud.wire.pixels.tile_sheet import BLOCK_PX, TileSheet
from fluxshard.errors import OptionError, WireError

Coding = Literal["median", "jpeg_xl"]

_MEDIAN, _JPEG_XL = b"\x01", b"\x02"  # the first byte of a payload names its coding
_SHEET_COLUMNS = 512 // BLOCK_PX  # JPEG XL codes groups of 256 px on their own: sheets are two of them wide


@dataclass(frozen=True, slots=True)
class PackedPayload:
    """Encodes pixels of one stream without loss.

    Attributes:
      height, width: of the image in pixels.
      coding: of what is encoded. "median" is decoded by everyone, "jpeg_xl" only where it is the coding as well: both
        sides have to agree on it.
      predictor: of the coding "median".

    Raises:
      WireError: a size that is not allowed.
      OptionError: a coding that is not allowed, or that this machine cannot do.
      MissingKernelError: compilation is disabled and the predictor is not cached.
    """

    height: int
    width: int
    coding: Coding = "median"
    predictor: MedianPredictor = field(default_factory=median_predictor)

    def __post_init__(self) -> None:
        check_size(self.height, self.width)
        if self.coding not in ("median", "jpeg_xl"):
            raise OptionError(f"coding (={self.coding!r}) must be 'median' or 'jpeg_xl'")
        if self.coding == "jpeg_xl":
            require_jpeg_xl()

    def encode(self, pixels: NDArray[np.uint8], mask: Mask) -> bytes:
        """The flagged pixels; no bytes where there are none.

        Args:
          pixels: `(H, W, 3)` RGB.
          mask: `(H, W)`.

        Raises:
          WireError: of another size or type.
        """
        check_mask(mask, self.height, self.width)
        check_pixels(pixels, self.height, self.width)
        if not mask.any():
            return b""
        if self.coding == "jpeg_xl":
            sheet = TileSheet.of(mask, _SHEET_COLUMNS)
            if max(sheet.shape) <= MOST_JPEG_XL_PX:
                return _JPEG_XL + encode_jpeg_xl(sheet.pack(pixels))
        return _MEDIAN + compress_noise(self.predictor.residuals(pixels, mask).tobytes())

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image: new pixels where the mask is set, the given ones elsewhere.

        Args:
          data: from `encode`.
          mask: `(H, W)`, the same.
          cached: `(H, W, 3)` what the receiver has, moved to where it is now.

        Raises:
          WireError: damaged, of another size than the mask asks for, or of a coding that was not agreed on.
        """
        check_mask(mask, self.height, self.width)
        check_pixels(cached, self.height, self.width)
        count = int(np.count_nonzero(mask))
        coding, body = data[:1], data[1:]
        if not count:
            if data:
                raise WireError("the frame has pixels, and its mask asks for none")
            return cached.copy()
        if coding == _MEDIAN:
            residuals = np.frombuffer(decompress(body, 3 * count, "the frame's pixels"), np.uint8).reshape(3, count)
            image = np.array(cached, order="C")
            self.predictor.restore(residuals, mask, image)
            return image
        if coding == _JPEG_XL and self.coding == "jpeg_xl":
            sheet = TileSheet.of(mask, _SHEET_COLUMNS)
            return sheet.unpack(decode_jpeg_xl(body, *sheet.shape), mask, cached)
        raise WireError("the frame's pixels are of a coding that was not agreed on")
