from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fluxshard.cloud.edge.payload.bitstream import BitstreamPayload
from fluxshard.cloud.edge.payload.packet_messages import PacketMessages
from fluxshard.cloud.edge.payload.sparse import Payload
from fluxshard.cloud.edge.payload.video_alone import VideoAlone
from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES, read_up
from fluxshard.errors import VideoError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.pacing import CHUNK_BYTES
from fluxshard.testing.offload.two_places import SIZE, moving_frames, small_model
from fluxshard.video.frame import Frame
from fluxshard.video.packet import Packet

FRAME = next(moving_frames(1))


def frame(*packets: tuple[int, bool], size: int = 10) -> Frame:
    made = tuple(Packet(number=number, data=bytes([number]) * size, keyframe=key) for number, key in packets)
    return replace(FRAME, packets=made, packet_number=made[-1].number)


class Asked:
    count = 0

    def __call__(self) -> None:
        self.count += 1


def bitstream(asked: Asked) -> Payload:
    plan = small_model().program.engine.plan
    return BitstreamPayload(work_orders(plan, ReuseOptions(policy="planned")), SIZE, asked)


def numbers(messages: list[bytes]) -> list[int]:
    return [read_up(data).packet.number for data in messages]


def test_packets_begin_with_a_keyframe_and_have_no_gap() -> None:
    asked = Asked()
    packets = PacketMessages(asked)
    delta = frame((3, False))
    assert packets.closed_because(delta) == "the video has to reach a keyframe" and packets.forward(delta) == []
    assert asked.count == 1
    key = frame((4, False), (5, True), (6, False))
    assert packets.closed_because(key) == "" and numbers(packets.forward(key)) == [5, 6]
    after = frame((7, False), (8, False))
    assert packets.closed_because(after) == "" and numbers(packets.forward(after)) == [7, 8]
    assert asked.count == 1


def test_after_an_interruption_a_keyframe_is_asked_for() -> None:
    asked = Asked()
    packets = PacketMessages(asked)
    packets.forward(frame((0, True)))
    packets.interrupt()
    assert asked.count == 1 and packets.forward(frame((1, False))) == []
    packets.forward(frame((2, True)))
    packets.rejoin()
    assert asked.count == 1 and packets.forward(frame((3, False))) == []


@pytest.mark.parametrize("make", [VideoAlone, bitstream], ids=["video alone", "bitstream"])
def test_after_a_pause_a_keyframe_is_waited_for(make: Callable[[Asked], Payload]) -> None:
    """Nobody asks for one until the server is wanted again."""
    asked = Asked()
    payload = make(asked)
    assert len(payload.forward(frame((0, True)))) == 1
    payload.pause()
    assert payload.forward(frame((1, False))) == [] and asked.count == 0
    assert payload.closed_because(frame((2, False))) and asked.count == 1
    assert numbers(payload.forward(frame((3, True)))) == [3] and payload.closed_because(frame((4, False))) == ""


def test_a_packet_is_sent_in_parts() -> None:
    parts = [read_up(data).packet for data in PacketMessages(Asked()).forward(frame((7, True), size=40_000))]
    assert [part.offset for part in parts] == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert b"".join(part.data for part in parts) == bytes([7]) * 40_000
    assert all(part.total_bytes == 40_000 and part.keyframe and part.ByteSize() < MAX_MESSAGE_BYTES for part in parts)


def test_a_frame_without_packets() -> None:
    with pytest.raises(VideoError, match="packets=True"):
        PacketMessages(Asked()).closed_because(FRAME)
