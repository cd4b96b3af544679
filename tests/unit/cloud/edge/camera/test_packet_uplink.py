"""What goes up of a video: without gaps, and no more than the link takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from fluxshard.cloud.edge.camera.packet_uplink import PacketUplink
from fluxshard.cloud.edge.connection.link import CloudLink, LinkState
from fluxshard.cloud.edge.connection.upload import Answered, KeyNeeded, Refused, Upload
from fluxshard.cloud.wire.messages import read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.testing.offload.two_places import moving_frames
from fluxshard.video.frame import Frame
from fluxshard.video.packet import Packet

FRAME = next(moving_frames(1))


def frame(number: int, *, key: bool = False, size: int = 10) -> Frame:
    packet = Packet(number=number, data=bytes(size), keyframe=key)
    return replace(FRAME, packets=(packet,), packet_number=number)


class Link:
    """What an uplink uses of a `CloudLink`."""

    def __init__(self) -> None:
        self.state, self.backlog_bytes, self.dropped = LinkState(), 0, 0
        self.uploads: list[Upload] = []
        self.forwarded: list[bytes] = []

    def open(self, epoch: int) -> None:
        welcome = pb.Welcome(epoch=epoch)
        self.state = LinkState(is_open=True, epoch=epoch, welcome=welcome, reason="", credit_bytes=100_000)

    def submit(self, upload: Upload) -> None:
        self.uploads.append(upload)

    def forward(self, messages: list[bytes]) -> None:
        self.forwarded += messages

    def drop_waiting(self) -> None:
        self.dropped += 1


class Uplinked:
    def __init__(self) -> None:
        self.link, self.asked = Link(), 0
        self.uplink = PacketUplink(cast(CloudLink, self.link), self._ask, lambda: None)

    def _ask(self) -> None:
        self.asked += 1

    def send(self, sent: Frame, **given: Any) -> Upload:
        assert self.uplink.closed_because(sent) == ""
        return self.uplink.send(sent, **{"keyframe": False, "budget_ms": 0, **given})


@pytest.fixture
def made() -> Uplinked:
    return Uplinked()


def answered(n_bytes: int = 0, ms: float = 0.0) -> Answered:
    return Answered(result=pb.Result(upload_bytes=n_bytes, upload_ms=ms), answer=b"")


def test_a_frame_is_a_head_and_its_packets(made: Uplinked) -> None:
    made.link.open(7)
    upload = made.send(frame(3, key=True), budget_ms=40, keyframe=True)
    head, *rest = (read_up(data) for data in upload.messages)
    assert head.frame == pb.Frame(seq=1, epoch=7, keyframe=True, wants_answer=True, picture=3, budget_ms=40)
    assert [message.packet.number for message in rest] == [3] and made.asked == 0


def test_one_frame_is_under_way_at_a_time(made: Uplinked) -> None:
    made.link.open(7)
    upload = made.send(frame(0, key=True))
    assert made.uplink.is_busy and made.uplink.closed_because(frame(1)) == "a frame is under way"
    assert made.uplink.forward(frame(1)) == len(made.link.forwarded[0])
    upload.finish(answered())
    assert not made.uplink.is_busy and made.uplink.closed_because(frame(2)) == ""


def test_a_connection_begins_with_a_keyframe(made: Uplinked) -> None:
    assert made.uplink.closed_because(frame(0)) == "not connected yet" and made.uplink.forward(frame(0)) == 0
    made.link.open(7)
    assert made.uplink.closed_because(frame(1)) == "the video has to reach a keyframe" and made.asked == 1
    made.send(frame(2, key=True)).finish(answered())
    made.link.open(7)  # a server that was restarted may have the same epoch
    assert made.uplink.forward(frame(3)) == 0
    assert made.uplink.closed_because(frame(4)) == "the video has to reach a keyframe"
    assert made.uplink.closed_because(frame(5, key=True)) == ""


def test_a_video_that_a_server_has_lost_begins_anew(made: Uplinked) -> None:
    made.link.open(7)
    made.send(frame(0, key=True))
    made.uplink.learn(KeyNeeded(reason="the frame failed"))
    made.uplink.learn(Refused(wait_ms=1.0))
    assert made.uplink.forward(frame(1)) > 0
    made.uplink.learn(KeyNeeded(reason="the video was interrupted", video=True))
    assert made.uplink.forward(frame(2)) == 0 and made.asked == 1


def test_what_the_link_cannot_take_is_dropped_until_a_keyframe(made: Uplinked) -> None:
    made.link.open(7)
    made.send(frame(0, key=True))
    made.link.backlog_bytes = 200_000
    assert made.uplink.forward(frame(1)) == 0 and made.link.dropped == 1 and made.asked == 1
    made.link.backlog_bytes = 0
    assert made.uplink.forward(frame(2)) == 0 and made.uplink.forward(frame(3, key=True)) > 0
    made.uplink.learn(answered(1_000_000, 1000.0))  # half a second is now 500 kB
    made.link.backlog_bytes = 200_000
    assert made.uplink.forward(frame(4)) > 0 and made.link.dropped == 1


def test_a_frame_that_is_larger_than_allowed_is_not_sent(made: Uplinked) -> None:
    made.link.open(7)
    upload = made.send(frame(0, key=True, size=150_000))
    assert isinstance(upload.outcome, Refused) and not made.link.uploads
    assert made.uplink.closed_because(frame(1)) == "the video has to reach a keyframe"
