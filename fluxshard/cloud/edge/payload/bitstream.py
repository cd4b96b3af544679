"""The video's own packets as payload: all of them go up, in order, whoever answers a frame."""

from __future__ import annotations

from collections.abc import Callable

from fluxshard.cloud.edge.payload.packet_messages import PacketMessages
from fluxshard.cloud.edge.payload.sparse import Envelope, head_of
from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.endpoints.work_order import WorkOrder, WorkOrders
from fluxshard.runtime.level_motion import Motion
from fluxshard.video.frame import Frame


class BitstreamPayload:
    """Messages of frames whose packets go up, with the edge's motion and masks in front.

    Args:
      orders: of the stream.
      size: (H, W) of the image.
      request_keyframe: asks whoever encodes the video for a keyframe.
    """

    is_sparse, received = False, None
    bytes_per_pixel = 0.1  # before the first frame: H.264 of a picture that changes everywhere

    def __init__(self, orders: WorkOrders, size: tuple[int, int], request_keyframe: Callable[[], object]) -> None:
        self._motion, self._masks = LevelMotionCodec(size, orders.levels, orders.grids), MaskCodec(orders.shapes)
        self._packets = PacketMessages(request_keyframe)

    def known_bytes(self, frame: Frame) -> None:
        """See `Payload.known_bytes`: motion and masks are not encoded yet."""

    def interrupt(self) -> None:
        """See `PacketMessages.interrupt`."""
        self._packets.interrupt()

    def pause(self) -> None:
        """See `PacketMessages.rejoin`."""
        self._packets.rejoin()

    def closed_because(self, frame: Frame) -> str:
        """See `PacketMessages.closed_because`."""
        return self._packets.closed_because(frame)

    def messages(self, frame: Frame, order: WorkOrder, motion: Motion | None, envelope: Envelope) -> list[bytes]:
        """See `SparsePayload.messages`."""
        head = head_of(order, motion, envelope, self._motion, self._masks)
        assert frame.packet_number is not None
        head.picture = frame.packet_number
        return [pb.Up(frame=head).SerializeToString(), *self.forward(frame)]

    def forward(self, frame: Frame) -> list[bytes]:
        """See `PacketMessages.forward`."""
        return self._packets.forward(frame)
