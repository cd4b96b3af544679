"""The paper's payload: pixels as they are. Both sides take all four pixels of a flagged quad.

Source: section III-B of the FluxShard paper: the recompute set and the motion field go up, in RGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.checks import check_mask, check_pixels
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
        """See `Payload.encode`: raster order, 3 bytes each; the mask is S_0 of both sides."""
        check_mask(mask, self.height, self.width)
        check_pixels(pixels, self.height, self.width)
        return take_flagged(pixels, mask).tobytes()

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Payload.decode`."""
        check_mask(mask, self.height, self.width)
        check_pixels(cached, self.height, self.width)
        expected = 3 * int(np.count_nonzero(mask))
        if len(data) != expected:
            raise WireError(f"the frame's pixels are {len(data)} bytes; its mask asks for {expected}")
        image = np.array(cached, order="C")
        put_flagged(image, mask, np.frombuffer(data, np.uint8).reshape(-1, 3))
        return image
