"""The dense network on pictures that were sent as JPEG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.wire.pixels.jpeg_stream import decode_jpeg, encode_jpeg
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Outcome, Stream, dense_method
from fluxshard.motion import MotionField
from fluxshard.video.letterbox import to_image

QUALITY = 90  # as the payload of that name


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegSent:
    """Encodes every frame as JPEG, 4:2:0, and runs the dense network on what is decoded.

    Attributes:
      quality: 1 to 100.
      family: see `Method`.
    """

    quality: int = QUALITY
    family: str = "jpeg"

    @property
    def name(self) -> str:
        """See `Method`."""
        return f"jpeg quality={self.quality}"

    @property
    def facts(self) -> Mapping[str, object]:
        """See `Method`."""
        return {"quality": self.quality}

    def start(self, subject: CompiledNetwork) -> Stream:
        """See `Method`."""
        dense = dense_method().start(subject)

        def run(image: Tensor, motion: MotionField | None) -> Outcome:
            sent = encode_jpeg(_pixels_of(image), self.quality)
            return dense(to_image(decode_jpeg(sent, *subject.shape)), motion)

        return run


def _pixels_of(image: Tensor) -> NDArray[np.uint8]:
    """`(H, W, 3)` uint8 of a `(1, 3, H, W)` image in 0..1."""
    pixels = image[0].permute(1, 2, 0).mul(255).round().byte().numpy()
    return np.ascontiguousarray(pixels)
