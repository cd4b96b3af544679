"""Lossy pixels of a frame: the tiles that its mask flags, packed into a JPEG picture.

The sender does not keep what it sent but what the receiver sees of it: it decodes its own bytes, so both sides go on
with identical pixels. That holds as long as both decoders give equal pixels, which `digest` tells.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.checks import check_mask, check_pixels, check_size
from fluxshard.cloud.wire.pixels.flagged import take_flagged
from fluxshard.cloud.wire.pixels.jpeg_stream import MOST_COLUMNS_PX, decode_jpeg, encode_jpeg
from fluxshard.cloud.wire.pixels.tile_sheet import BLOCK_PX, TileSheet
from fluxshard.errors import OptionError, WireError

# one row of blocks as long as it fits: chroma is interpolated across blocks, and neighbours in a row mostly are
# neighbours in the image
_SHEET_COLUMNS = MOST_COLUMNS_PX // BLOCK_PX


@dataclass(frozen=True, slots=True)
class JpegPayload:
    """Encodes pixels of one stream with loss, 4:2:0.

    Attributes:
      height, width: of the image in pixels.
      quality: of what is encoded, 1 to 100, as libjpeg scales its tables. A receiver takes any.

    Raises:
      WireError: a size that is not allowed.
      OptionError: a quality that is not allowed.
    """

    height: int
    width: int
    quality: int = 90

    def __post_init__(self) -> None:
        check_size(self.height, self.width)
        if not 1 <= self.quality <= 100:
            raise OptionError(f"quality (={self.quality}) must be 1 to 100")

    def encode(self, pixels: NDArray[np.uint8], mask: Mask) -> bytes:
        """See `Payload.encode`; about as the pixels are."""
        check_mask(mask, self.height, self.width)
        check_pixels(pixels, self.height, self.width)
        if not mask.any():
            return b""
        return encode_jpeg(TileSheet.of(mask, _SHEET_COLUMNS).pack(pixels), self.quality)

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Payload.decode`; the sender calls it as well. Another kind of file is damaged, too."""
        check_mask(mask, self.height, self.width)
        check_pixels(cached, self.height, self.width)
        if not mask.any():
            if data:
                raise WireError("the frame has pixels, and its mask asks for none")
            return cached.copy()
        sheet = TileSheet.of(mask, _SHEET_COLUMNS)
        return sheet.unpack(decode_jpeg(data, *sheet.shape), mask, cached)

    def digest(self, pixels: NDArray[np.uint8], mask: Mask) -> int:
        """64 bits that stand for the flagged pixels: unlike decoders give unlike digests.

        Args:
          pixels: `(H, W, 3)` from `decode`.
          mask: `(H, W)`, the same.

        Raises:
          WireError: of another size or type.
        """
        check_mask(mask, self.height, self.width)
        check_pixels(pixels, self.height, self.width)
        return int.from_bytes(hashlib.blake2b(take_flagged(pixels, mask).tobytes(), digest_size=8).digest(), "little")
