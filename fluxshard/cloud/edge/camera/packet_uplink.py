"""A video's packets on their way to a server that plans: one frame waits for its answer, others are only decoded."""

from __future__ import annotations

import time
from collections.abc import Callable

from fluxshard.cloud.edge.connection.link import CloudLink
from fluxshard.cloud.edge.connection.upload import Answered, KeyNeeded, Outcome, Refused, Upload
from fluxshard.cloud.edge.payload.packet_messages import PacketMessages, picture_head
from fluxshard.cloud.edge.payload.sparse import Envelope
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.offload.uplink import Uplink
from fluxshard.video.frame import Frame

_BACKLOG_S, _LEAST_BACKLOG_BYTES = 0.5, 128 << 10  # of a video, beyond which it goes on at the next keyframe


class PacketUplink:
    """Sends the frames of one video. For one thread.

    Args:
      link: to the server.
      request_keyframe: asks whoever encodes the video for a keyframe.
      wake: called, from any thread, when there is an outcome.
    """

    def __init__(self, link: CloudLink, request_keyframe: Callable[[], object], wake: Callable[[], None]) -> None:
        self._link, self._packets, self._wake = link, PacketMessages(request_keyframe), wake
        self._welcome: pb.Welcome | None = None  # of the connection that the packets go to
        self._uplink = Uplink()
        self._flight: Upload | None = None
        self._seq = 0

    @property
    def is_busy(self) -> bool:
        """A frame waits for its answer."""
        return self._flight is not None and self._flight.outcome is None

    def closed_because(self, frame: Frame) -> str:
        """Why the server could not run this frame now; empty where it can.

        Raises:
          VideoError: the frame has no packets.
        """
        state = self._link.state
        if not state.is_open:
            return state.reason or "not connected"
        if state.welcome is not self._welcome:  # another connection, which knows nothing of the video
            self._welcome = state.welcome
            self._packets.rejoin()  # this frame may be a keyframe; if it is not, one is asked for below
        if self.is_busy:
            return "a frame is under way"
        return self._packets.closed_because(frame)

    def send(self, frame: Frame, *, keyframe: bool, budget_ms: int) -> Upload:
        """Sends a frame that is to be answered; nothing says that it could not be.

        Args:
          frame: of the video.
          keyframe: nothing cached may be used for it.
          budget_ms: until there is no use for the answer; 0 where there is no limit.
        """
        self._seq += 1
        assert frame.packet_number is not None and self._welcome is not None
        epoch = self._welcome.epoch
        envelope = Envelope(seq=self._seq, base_seq=0, epoch=epoch, wants_answer=True, budget_ms=budget_ms)
        messages = [picture_head(frame.packet_number, envelope, keyframe=keyframe), *self._packets.forward(frame)]
        self._flight = upload = Upload(self._seq, messages, self._wake)
        if sum(map(len, messages[1:])) > self._link.state.credit_bytes:  # a server would end the stream
            self._packets.interrupt()
            upload.finish(Refused(wait_ms=0.0))
        else:
            self._link.submit(upload)
        return upload

    def forward(self, frame: Frame) -> int:
        """Sends what the server needs of a frame that it does not run; returns how many bytes that are."""
        if not self._link.state.is_open or self._link.state.welcome is not self._welcome:
            return 0
        if self._link.backlog_bytes > self._most_backlog():
            self._packets.interrupt()  # the next keyframe will be there sooner than all that waits
            self._link.drop_waiting()
            return 0
        messages = self._packets.forward(frame)
        if messages:
            self._link.forward(messages)
        return sum(map(len, messages))

    def learn(self, outcome: Outcome) -> None:
        """Takes what became of a frame."""
        if isinstance(outcome, Answered):
            result = outcome.result
            self._uplink = self._uplink.after(result.upload_bytes, result.upload_ms / 1e3, time.monotonic())
        elif isinstance(outcome, KeyNeeded) and outcome.video:
            self._packets.interrupt()

    def _most_backlog(self) -> float:
        rate = self._uplink.bytes_per_s
        return _LEAST_BACKLOG_BYTES if rate is None else max(_LEAST_BACKLOG_BYTES, _BACKLOG_S * rate)
