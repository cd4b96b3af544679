"""What every payload asks of its arguments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.compression import MAX_BYTES
from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.errors import WireError

MOST_SIDE_PX = 16384


def check_size(height: int, width: int) -> None:
    """Refuses images of a size that is not allowed.

    Raises:
      WireError: a side that is not in 1..16384 pixels, or more than 64 MiB of pixels.
    """
    sides_fit = 0 < height <= MOST_SIDE_PX and 0 < width <= MOST_SIDE_PX
    if not sides_fit or 3 * height * width > MAX_BYTES:
        raise WireError(
            f"an image of {height}x{width} px is not allowed: sides are 1 to {MOST_SIDE_PX} px, pixels at most "
            f"{MAX_BYTES} bytes"
        )


def check_mask(mask: Mask, height: int, width: int) -> None:
    """Refuses masks of other streams.

    Raises:
      WireError: of another shape or type.
    """
    if mask.shape != (height, width) or mask.dtype != np.bool_:
        raise WireError(f"a mask of {mask.shape} {mask.dtype} was given; this stream has {(height, width)} bool")


def check_pixels(pixels: NDArray[np.uint8], height: int, width: int) -> None:
    """Refuses pixels of other streams.

    Raises:
      WireError: of another shape or type.
    """
    if pixels.shape != (height, width, 3) or pixels.dtype != np.uint8:
        raise WireError(f"pixels are {pixels.shape} {pixels.dtype}; this stream has ({height}, {width}, 3) uint8")
