"""Lossless pixels of a frame: only those that its mask flags, by prediction from their neighbours.

Pixels are predicted in place (`pixels/median_predictor.py`), and what is left is compressed with Zstandard; prediction
takes generated C++ where there is a compiler, otherwise numpy, with equal bytes. Lossless JPEG XL of the flagged tiles
took 1 to 6% more bytes and six times as long, and its fastest effort is not lossless (libjxl 0.11): docs/benchmarks.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.compression import compress_noise, decompress
from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.checks import check_mask, check_pixels, check_size
from fluxshard.cloud.wire.pixels.cpp_median_predictor import median_predictor
from fluxshard.cloud.wire.pixels.median_predictor import MedianPredictor
from fluxshard.errors import WireError

_MEDIAN = b"\x01"  # the first byte of a payload names its coding


@dataclass(frozen=True, slots=True)
class PackedPayload:
    """Encodes pixels of one stream without loss.

    Attributes:
      height, width: of the image in pixels.
      predictor: of pixels.

    Raises:
      WireError: a size that is not allowed.
      MissingKernelError: compilation is disabled and the predictor is not cached.
    """

    height: int
    width: int
    predictor: MedianPredictor = field(default_factory=median_predictor)

    def __post_init__(self) -> None:
        check_size(self.height, self.width)

    def encode(self, pixels: NDArray[np.uint8], mask: Mask) -> bytes:
        """See `Payload.encode`."""
        check_mask(mask, self.height, self.width)
        check_pixels(pixels, self.height, self.width)
        if not mask.any():
            return b""
        return _MEDIAN + compress_noise(self.predictor.residuals(pixels, mask).tobytes())

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Payload.decode`; pixels of another coding are damaged, too."""
        check_mask(mask, self.height, self.width)
        check_pixels(cached, self.height, self.width)
        count = int(np.count_nonzero(mask))
        coding, body = data[:1], data[1:]
        if not count:
            if data:
                raise WireError("the frame has pixels, and its mask asks for none")
            return cached.copy()
        if coding != _MEDIAN:
            raise WireError("the frame's pixels are of a coding that is not known")
        residuals = np.frombuffer(decompress(body, 3 * count, "the frame's pixels"), np.uint8).reshape(3, count)
        image = np.array(cached, order="C")
        self.predictor.restore(residuals, mask, image)
        return image
