"""Packets of a video as messages: all of them, in order, from a keyframe on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxshard.cloud.edge.payload.sparse import Envelope
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import VideoError
from fluxshard.runtime.offload.pacing import CHUNK_BYTES
from fluxshard.video.frame import Frame
from fluxshard.video.packet import Packet


class PacketMessages:
    """Messages with the packets of a video's frames.

    A picture is decoded from all packets since a keyframe of the video. So packets are sent without gaps, those of
    frames that the server does not run included; after a gap, nothing is sent until the next keyframe.

    Args:
      request_keyframe: asks whoever encodes the video for a keyframe.
    """

    def __init__(self, request_keyframe: Callable[[], object]) -> None:
        self._request_keyframe = request_keyframe
        self._joined = False  # the server has the video since a keyframe

    def rejoin(self) -> None:
        """Somebody receives the packets who knows nothing of those before: what is sent begins with a keyframe."""
        self._joined = False

    def interrupt(self) -> None:
        """The server has lost the video, or will: it goes on with a keyframe, as soon as there can be one."""
        self.rejoin()
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

    def forward(self, frame: Frame) -> list[bytes]:
        """Messages of a frame's packets; none while the server waits for a keyframe."""
        packets = self._to_send(frame)
        self._joined |= bool(packets)
        return [message for packet in packets for message in _messages(packet)]

    def n_bytes(self, frame: Frame) -> int:
        """Bytes of the packets that `forward` would send."""
        return sum(len(packet.data) for packet in self._to_send(frame))

    def _to_send(self, frame: Frame) -> Sequence[Packet]:
        packets: Sequence[Packet] = frame.packets
        if self._joined:
            return packets
        first = next((index for index, packet in enumerate(packets) if packet.keyframe), len(packets))
        return packets[first:]


def picture_head(picture: int, envelope: Envelope, *, keyframe: bool = False) -> bytes:
    """The message before the packets of a frame, where the server plans.

    Args:
      picture: number of the packet that holds it.
      envelope: what is said of it; what it builds on is not, as the server knows.
      keyframe: nothing cached may be used for it.
    """
    head = pb.Frame(
        seq=envelope.seq,
        epoch=envelope.epoch,
        keyframe=keyframe,
        wants_answer=envelope.wants_answer,
        picture=picture,
        budget_ms=envelope.budget_ms,
    )
    message: bytes = pb.Up(frame=head).SerializeToString()
    return message


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
