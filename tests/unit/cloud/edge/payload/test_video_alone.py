"""Packets and a head of a few bytes."""

from __future__ import annotations

from dataclasses import replace

from fluxshard.cloud.edge.payload.sparse import Envelope
from fluxshard.cloud.edge.payload.video_alone import VideoAlone
from fluxshard.cloud.wire.messages import read_up
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.testing.offload.two_places import moving_frames
from fluxshard.video.frame import Frame
from fluxshard.video.packet import Packet

FRAME = next(moving_frames(1))
ENVELOPE = Envelope(seq=1000, base_seq=999, epoch=7, wants_answer=True, budget_ms=80)


def frame(*numbers: int, key: bool = False) -> Frame:
    packets = tuple(Packet(number=number, data=bytes(100), keyframe=key) for number in numbers)
    return replace(FRAME, packets=packets, packet_number=numbers[-1])


def test_nothing_is_said_of_the_work() -> None:
    asked: list[int] = []
    payload = VideoAlone(lambda: asked.append(1))
    assert payload.closed_because(frame(3)) and asked == [1] and payload.known_bytes(frame(3)) == 0
    key = frame(4, 5, key=True)
    assert payload.closed_because(key) == "" and payload.known_bytes(key) == 200
    head, *packets = payload.messages(key, WorkOrder(keyframe=False), None, ENVELOPE)
    sent = read_up(head).frame
    assert len(head) < 24 and (sent.seq, sent.epoch, sent.picture, sent.budget_ms) == (1000, 7, 5, 80)
    assert sent.wants_answer and not sent.keyframe and not sent.base_seq and not sent.motion and not sent.masks
    assert [read_up(data).packet.number for data in packets] == [4, 5]
    assert payload.known_bytes(frame(6, 7, 8)) == 300
    head, *_ = payload.messages(frame(6), WorkOrder(keyframe=True), None, replace(ENVELOPE, wants_answer=False))
    assert read_up(head).frame.keyframe and not read_up(head).frame.wants_answer
    payload.interrupt()
    assert asked == [1, 1] and payload.forward(frame(9)) == []
