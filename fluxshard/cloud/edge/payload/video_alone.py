"""A video's packets as payload where the server plans: nothing is said of the work."""

from __future__ import annotations

from collections.abc import Callable

from fluxshard.cloud.edge.payload.packet_messages import PacketMessages, picture_head
from fluxshard.cloud.edge.payload.sparse import Envelope
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.runtime.level_motion import Motion
from fluxshard.video.frame import Frame


class VideoAlone:
    """Messages of frames whose packets go up, with a head of a few bytes.

    Args:
      request_keyframe: asks whoever encodes the video for a keyframe.
    """

    is_sparse, received, bytes_per_pixel = False, None, 0.0

    def __init__(self, request_keyframe: Callable[[], object]) -> None:
        self._packets = PacketMessages(request_keyframe)

    def known_bytes(self, frame: Frame) -> int:
        """See `Payload.known_bytes`."""
        return self._packets.n_bytes(frame)

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
        """See `SparsePayload.messages`; of the order, only whether everything is to be computed anew is told."""
        assert frame.packet_number is not None
        return [picture_head(frame.packet_number, envelope, keyframe=order.keyframe), *self.forward(frame)]

    def forward(self, frame: Frame) -> list[bytes]:
        """See `PacketMessages.forward`."""
        return self._packets.forward(frame)
