"""Images of a stream on the server: what has arrived, as input of the network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import WireError
from fluxshard.motion import MotionField
from fluxshard.video.letterbox import to_planes

Mask = NDArray[np.bool_]
DigestOf = Callable[[NDArray[np.uint8], Mask], int]


class PixelCodec(Protocol):
    """Encodes the pixels of S_0; see `RawPayload`."""

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image: new pixels where the mask is set, the given ones elsewhere."""
        ...


class StreamImages(Protocol):
    """Where a stream's images come from. For one event loop."""

    @property
    def is_sparse(self) -> bool:
        """Images are right in S_0 only."""
        ...

    @property
    def recovers(self) -> bool:
        """A failure is one of this video, and over with its next keyframe."""
        ...

    @property
    def digest(self) -> int:
        """Of the pixels of the last image, where the payload is lossy; else 0."""
        ...

    @property
    def motion(self) -> MotionField | None:
        """Of the last image since the one before that was run; None where it is unknown, or not looked for."""
        ...

    def ran(self) -> None:
        """The last image was run."""
        ...

    def announce(self, frame: pb.Frame) -> None:
        """Takes the head of a frame: its picture will be wanted.

        Raises:
          WireError: such a frame is not allowed.
        """
        ...

    def can_have(self, frame: pb.Frame) -> bool:
        """Whether the frame's picture can still come."""
        ...

    def packet(self, packet: pb.Packet) -> bool:
        """Takes a part of the video; returns whether a packet is complete.

        Raises:
          WireError: it is not allowed here.
        """
        ...

    def has(self, frame: pb.Frame) -> bool:
        """Whether all that the frame's image needs, beside its payload, has arrived."""
        ...

    async def image(self, frame: pb.Frame, payload: bytes, mask: Callable[[], Mask], threads: Executor) -> Tensor:
        """The image, `(1, 3, H, W)` uint8.

        Args:
          frame: its head.
          payload: as it came.
          mask: gives S_0; takes a while, and is called in a thread.
          threads: to decode in.

        Raises:
          WireError: what came is damaged.
        """
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


class SparseImages:
    """See `StreamImages`: the pixels of S_0 come as a payload.

    Args:
      codec: of payloads.
      digest_of: of an image's pixels in S_0, where the payload is lossy: the edge has to have the same.
    """

    is_sparse, recovers, motion = True, False, None

    def __init__(self, codec: PixelCodec, digest_of: DigestOf | None = None) -> None:
        self._codec, self._digest_of = codec, digest_of
        self.digest = 0

    def ran(self) -> None:
        """See `StreamImages.ran`."""

    def announce(self, frame: pb.Frame) -> None:
        """See `StreamImages.announce`."""

    def can_have(self, frame: pb.Frame) -> bool:
        """See `StreamImages.can_have`."""
        return True

    def packet(self, packet: pb.Packet) -> bool:
        """See `StreamImages.packet`."""
        raise WireError("a part of a video came, and this stream has another payload")

    def has(self, frame: pb.Frame) -> bool:
        """See `StreamImages.has`."""
        return True

    async def image(self, frame: pb.Frame, payload: bytes, mask: Callable[[], Mask], threads: Executor) -> Tensor:
        """See `StreamImages.image`."""
        return await asyncio.get_running_loop().run_in_executor(threads, self._decode, payload, mask)

    def close(self) -> None:
        """See `StreamImages.close`."""

    def _decode(self, payload: bytes, mask: Callable[[], Mask]) -> Tensor:
        pixels = mask()
        blank = np.zeros((*pixels.shape, 3), np.uint8)
        decoded = self._codec.decode(payload, pixels, blank)
        self.digest = 0 if self._digest_of is None else self._digest_of(decoded, pixels)
        return to_planes(decoded)
