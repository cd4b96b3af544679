"""What an edge sends of a frame, per payload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.messages import checksum, chunks
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.endpoints.work_order import WorkOrder, WorkOrders
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.offload.pacing import CHUNK_BYTES
from fluxshard.video.frame import Frame

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Received:
    """A frame as the server sees it after a lossy payload.

    Attributes:
      pixels: `(H, W, 3)` uint8, right in S_0.
      digest: of the pixels in S_0.
    """

    pixels: NDArray[np.uint8]
    digest: int


class LossyCodec(Protocol):
    """A payload that changes pixels; see `JpegPayload`."""

    def decode(self, data: bytes, mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the receiver makes of the bytes."""
        ...

    def digest(self, pixels: NDArray[np.uint8], mask: Mask) -> int:
        """Of the flagged pixels."""
        ...


class PixelEncoder(Protocol):
    """Encodes the pixels of S_0; see `RawPayload`."""

    def encode(self, pixels: NDArray[np.uint8], mask: Mask) -> bytes:
        """The bytes of the flagged pixels."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is said of a frame beside its work.

    Attributes:
      seq, base_seq, epoch: see `offload.proto`.
      wants_answer: False for a refresh.
      budget_ms: until there is no use for the answer; 0 where there is no limit.
      chunk_bytes: of messages with pixels.
    """

    seq: int
    base_seq: int
    epoch: int
    wants_answer: bool
    budget_ms: int
    chunk_bytes: int = CHUNK_BYTES


class Payload(Protocol):
    """What goes up of a stream's frames."""

    @property
    def is_sparse(self) -> bool:
        """Only the pixels of S_0 go up."""
        ...

    @property
    def bytes_per_pixel(self) -> float:
        """That are expected before the first frame."""
        ...

    def known_bytes(self, frame: Frame) -> int | None:
        """Of a frame, before it is encoded; None where that is not known: as many per pixel of S_0 as the last ones."""
        ...

    def interrupt(self) -> None:
        """What was sent before is worth nothing to the server."""
        ...

    def pause(self) -> None:
        """What comes next is not sent; what is sent later stands for itself, without being asked for."""
        ...

    def closed_because(self, frame: Frame) -> str:
        """Why the server could not make an image of this frame; empty where it can."""
        ...

    def messages(self, frame: Frame, order: WorkOrder, motion: Motion | None, envelope: Envelope) -> list[bytes]:
        """Serialised messages, the head first."""
        ...

    def forward(self, frame: Frame) -> list[bytes]:
        """Serialised messages of a frame that the server is not to run."""
        ...

    @property
    def received(self) -> Received | None:
        """What the server makes of the last messages; None where that is the frame itself."""
        ...


class SparsePayload:
    """Messages of frames whose changed pixels go up.

    Args:
      codec: of the pixels.
      orders: of the stream.
      size: (H, W) of the image.
      bytes_per_pixel: that are expected before the first frame.
      lossy: the same codec, where it changes pixels.
    """

    is_sparse = True

    def __init__(
        self,
        codec: PixelEncoder,
        orders: WorkOrders,
        size: tuple[int, int],
        *,
        bytes_per_pixel: float = 3.0,
        lossy: LossyCodec | None = None,
    ) -> None:
        self.bytes_per_pixel = bytes_per_pixel
        self._lossy = lossy
        self.received: Received | None = None
        self._codec, self._orders = codec, orders
        self._motion, self._masks = LevelMotionCodec(size, orders.levels, orders.grids), MaskCodec(orders.shapes)

    def known_bytes(self, frame: Frame) -> None:
        """See `Payload.known_bytes`: that depends on the pixels."""

    def interrupt(self) -> None:
        """See `Payload.interrupt`."""

    def pause(self) -> None:
        """See `Payload.pause`."""

    def closed_because(self, frame: Frame) -> str:
        """See `Payload.closed_because`."""
        return ""

    def forward(self, frame: Frame) -> list[bytes]:
        """See `Payload.forward`."""
        return []

    def messages(self, frame: Frame, order: WorkOrder, motion: Motion | None, envelope: Envelope) -> list[bytes]:
        """Serialised messages, the head first.

        Args:
          frame: of the video.
          order: the work.
          motion: since the frame that the server has run last.
          envelope: what else the head says.
        """
        mask = self._orders.pixels(order, motion)
        payload = self._codec.encode(frame.pixels, mask)
        if self._lossy is not None:
            pixels = self._lossy.decode(payload, mask, frame.pixels)
            self.received = Received(pixels=pixels, digest=self._lossy.digest(pixels, mask))
        head = head_of(order, motion, envelope, self._motion, self._masks, payload)
        return [
            pb.Up(frame=head).SerializeToString(),
            *(pb.Up(chunk=chunk).SerializeToString() for chunk in chunks(envelope.seq, payload, envelope.chunk_bytes)),
        ]


def head_of(
    order: WorkOrder,
    motion: Motion | None,
    envelope: Envelope,
    motions: LevelMotionCodec,
    masks: MaskCodec,
    payload: bytes = b"",
) -> pb.Frame:
    """The head of a frame.

    Args:
      order: the work.
      motion: since the frame that the server has run last; None for zero.
      envelope: what else it says.
      motions, masks: encode both.
      payload: that follows in chunks.
    """
    sent = b"" if order.keyframe or motion is None else motions.encode(motion)
    flagged = b"" if order.keyframe else masks.encode(order.masks)
    return pb.Frame(
        seq=envelope.seq,
        base_seq=envelope.base_seq,
        epoch=envelope.epoch,
        keyframe=order.keyframe,
        wants_answer=envelope.wants_answer,
        budget_ms=envelope.budget_ms,
        motion=sent,
        masks=flagged,
        payload_bytes=len(payload),
        payload_crc32=checksum(sent, flagged, payload),
    )
