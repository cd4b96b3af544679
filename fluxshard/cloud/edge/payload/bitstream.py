"""The video's own packets as payload: all of them go up, in order, whoever answers a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxshard.cloud.edge.payload.sparse import Envelope, head_of
from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.messages import CHUNK_BYTES
from fluxshard.cloud.wire.motion_codec import MotionCodec
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import VideoError
from fluxshard.motion import CELL_PX, MotionField
from fluxshard.runtime.endpoints.work_order import WorkOrder, WorkOrders
from fluxshard.video.frame import Frame
from fluxshard.video.packet import Packet


class BitstreamPayload:
    """Messages of frames whose packets go up.

    A picture is decoded from all packets since a keyframe of the video. So packets are sent without gaps, those of
    frames that the edge answers included; after a gap, nothing is sent until the next keyframe.

    Args:
      orders: of the stream.
      size: (H, W) of the image.
      request_keyframe: asks whoever encodes the video for a keyframe.
    """

    is_sparse, received = False, None
    bytes_per_pixel = 0.1  # before the first frame: H.264 of a picture that changes everywhere

    def __init__(self, orders: WorkOrders, size: tuple[int, int], request_keyframe: Callable[[], object]) -> None:
        self._motion, self._masks = MotionCodec(*size, CELL_PX), MaskCodec(orders.shapes)
        self._request_keyframe = request_keyframe
        self._joined = False  # the server has the video since a keyframe

    def interrupt(self) -> None:
        """The server has lost the video, or will: it goes on with a keyframe."""
        self._joined = False
        self._request_keyframe()

    def closed_because(self, frame: Frame) -> str:
        """Why the server cannot decode this frame; empty where it can.

        Raises:
          VideoError: the frame has no packets.
        """
        if frame.packet_number is None or not frame.packets:
            raise VideoError("payload 'bitstream' needs a video with packets: open it with packets=True")
        if self._joined or any(packet.keyframe for packet in frame.packets):
            return ""
        self._request_keyframe()
        return "the video has to reach a keyframe"

    def messages(self, frame: Frame, order: WorkOrder, motion: MotionField | None, envelope: Envelope) -> list[bytes]:
        """See `SparsePayload.messages`."""
        head = head_of(order, motion, envelope, self._motion, self._masks)
        assert frame.packet_number is not None
        head.picture = frame.packet_number
        return [pb.Up(frame=head).SerializeToString(), *self.forward(frame)]

    def forward(self, frame: Frame) -> list[bytes]:
        """Messages of a frame that the server is only to decode; none while it waits for a keyframe."""
        packets: Sequence[Packet] = frame.packets
        if not self._joined:
            first = next((index for index, packet in enumerate(packets) if packet.keyframe), None)
            if first is None:
                return []
            packets, self._joined = packets[first:], True
        return [message for packet in packets for message in _messages(packet)]


def _messages(packet: Packet) -> list[bytes]:
    return [
        pb.Up(
            packet=pb.Packet(
                number=packet.number,
                keyframe=packet.keyframe,
                total_bytes=len(packet.data),
                offset=offset,
                data=packet.data[offset : offset + CHUNK_BYTES],
            )
        ).SerializeToString()
        for offset in range(0, max(1, len(packet.data)), CHUNK_BYTES)
    ]
