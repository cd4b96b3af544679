"""The paper's payload: pixels as they are. Both sides take all four pixels of a flagged quad.

Source: section III-B of the FluxShard paper: the recompute set and the motion field go up, in RGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.flagged import put_flagged, take_flagged
from fluxshard.errors import WireError


@dataclass(frozen=True, slots=True)
class RawPayload:
    """Encodes pixels of one stream.

    Attributes:
      height, width: of the image in pixels.
    """

    height: int
    width: int

    def encode(self, pixels: NDArray[np.uint8], mask: Mask) -> bytes:
        """The flagged pixels in raster order, 3 bytes each.

        Args:
          pixels: `(H, W, 3)` RGB.
          mask: `(H, W)`, S_0 of both sides.

        Raises:
          WireError: of another size or type.
        """
        self._check(mask)
        if pixels.shape != (self.height, self.width, 3) or pixels.dtype != np.uint8:
            raise WireError(
                f"pixels are {pixels.shape} {pixels.dtype}; this stream has ({self.height}, {self.width}, 3) uint8"
            )
        return take_flagged(pixels, mask).tobytes()

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image: new pixels where the mask is set, the given ones elsewhere.

        Args:
          data: from `encode`.
          mask: `(H, W)`, the same.
          cached: `(H, W, 3)` what the receiver has, moved to where it is now.

        Raises:
          WireError: another number of bytes than the mask asks for.
        """
        self._check(mask)
        expected = 3 * int(np.count_nonzero(mask))
        if len(data) != expected:
            raise WireError(f"the frame's pixels are {len(data)} bytes; its mask asks for {expected}")
        image = np.array(cached, order="C")
        put_flagged(image, mask, np.frombuffer(data, np.uint8).reshape(-1, 3))
        return image

    def _check(self, mask: Mask) -> None:
        if mask.shape != (self.height, self.width):
            raise WireError(f"a mask of {mask.shape} was given; this stream has {(self.height, self.width)}")
