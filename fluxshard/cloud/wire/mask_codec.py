"""Masks as bytes: one bit a cell, compressed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.compression import compress, decompress
from fluxshard.errors import WireError

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MaskCodec:
    """Encodes a list of masks whose shapes both sides know: one for propagated reuse, one per level for planned reuse.

    Attributes:
      shapes: (rows, columns) of each.
    """

    shapes: tuple[tuple[int, int], ...]

    def encode(self, masks: tuple[Mask, ...]) -> bytes:
        """The bytes of masks.

        Raises:
          WireError: masks of other shapes.
        """
        if tuple(mask.shape for mask in masks) != self.shapes:
            raise WireError(f"masks of {[mask.shape for mask in masks]} were given; this stream has {self.shapes}")
        bits = np.concatenate([mask.reshape(-1) for mask in masks]) if masks else np.zeros(0, np.bool_)
        return compress(np.packbits(bits).tobytes())

    def decode(self, data: bytes) -> tuple[Mask, ...]:
        """The masks of these bytes.

        Raises:
          WireError: damaged, or of another size.
        """
        counts = [rows * columns for rows, columns in self.shapes]
        total = sum(counts)
        content = np.frombuffer(decompress(data, -(-total // 8), "the mask"), np.uint8)
        bits = np.unpackbits(content, count=total).astype(np.bool_)
        if total % 8 and content[-1] & (0xFF >> total % 8):
            raise WireError("the mask has bits beyond its last cell")
        parts = np.split(bits, np.cumsum(counts)[:-1]) if counts else []
        return tuple(part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True))
