"""The seam between a stream and how the pixels of its frames travel."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.jpeg_payload import JpegPayload
from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.packed_payload import PackedPayload
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.errors import OptionError

PayloadName = Literal["raw", "packed", "jpeg"]


class Payload(Protocol):
    """Pixels of one stream as bytes. Both sides know the mask; it travels on its own."""

    @property
    def height(self) -> int:
        """Of the image in pixels."""
        ...

    @property
    def width(self) -> int:
        """Of the image in pixels."""
        ...

    def encode(self, pixels: NDArray[np.uint8], mask: Mask) -> bytes:
        """The flagged pixels; no bytes where there are none.

        Args:
          pixels: `(H, W, 3)` RGB.
          mask: `(H, W)`.

        Raises:
          WireError: of another size or type.
        """
        ...

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image, a new array: pixels of the payload where the mask is set, the given ones elsewhere.

        Args:
          data: from `encode`.
          mask: `(H, W)`, the same.
          cached: `(H, W, 3)` what the receiver has, moved to where it is now.

        Raises:
          WireError: damaged, or of another size than the mask asks for.
        """
        ...


def make_payload(name: PayloadName, height: int, width: int) -> Payload:
    """A payload by name: "raw" as in the paper, "packed" without loss, or "jpeg".

    Args:
      name: that both sides agreed on.
      height, width: of the image in pixels.

    Raises:
      OptionError: another name.
      WireError: a size that is not allowed.
      MissingKernelError: compilation is disabled and the program of "packed" is not cached.
    """
    if name == "raw":
        return RawPayload(height, width)
    if name == "packed":
        return PackedPayload(height, width)
    if name == "jpeg":
        return JpegPayload(height, width)
    raise OptionError(f"payload (={name!r}) must be 'raw', 'packed' or 'jpeg'")
