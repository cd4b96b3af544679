"""One frame on its way to the server, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxshard.cloud.wire.proto import offload_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """The server ran the frame.

    Attributes:
      result: its figures.
      answer: bytes of what the network returned; empty where none was asked for.
    """

    result: pb.Result
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The server did not run the frame, and what it has cached is as before.

    Attributes:
      wait_ms: that a frame would have to wait.
    """

    wait_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNeeded:
    """The server did not run the frame, and has nothing cached that the next one could use.

    Attributes:
      reason: as the server says.
      video: the video has to go on with a keyframe, too.
    """

    reason: str
    video: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The link was lost, or closed before the frame was handed over.

    Attributes:
      reason: why.
      sent: something of the frame may have left, and nobody knows whether the server ran it.
    """

    reason: str
    sent: bool = True


Outcome = Answered | Refused | KeyNeeded | Lost


def outcome_name(outcome: Outcome) -> str:
    """How records name it: "answered", "refused", "key needed", "lost" or "not sent"."""
    if isinstance(outcome, Answered):
        return "answered"
    if isinstance(outcome, Refused):
        return "refused"
    if isinstance(outcome, KeyNeeded):
        return "key needed"
    return "lost" if outcome.sent else "not sent"


class Upload:
    """A frame's messages, and their progress: written by the link's thread, read by the session's.

    An upload that is late is not given up: what has arrived would be lost, and once the rest is there, the server has a
    cache as good as new.

    Args:
      seq: of the frame.
      messages: serialised, the head first.
      wake: called when there is an outcome.
      only_frame: the messages are of no use to later frames: those that are left when there is an outcome, since the
        server has refused the frame, are not sent.
    """

    def __init__(
        self, seq: int, messages: Sequence[bytes], wake: Callable[[], None], *, only_frame: bool = False
    ) -> None:
        self.seq, self.messages, self._only_frame = seq, messages, only_frame
        self.n_bytes = sum(map(len, messages))
        """Of all messages."""
        self._wake = wake
        self._taken = 0
        self._start: int | None = None  # bytes of the stream before the first message
        self._acked, self._acked_at = 0, 0.0
        self._received: int | None = None  # bytes of the stream that the server has
        self._first_ack_at: float | None = None
        self._complete_at = 0.0
        self._outcome: Outcome | None = None
        self._outcome_at = 0.0
        self.began = time.monotonic()
        """When it was handed to the link."""

    @property
    def outcome(self) -> Outcome | None:
        """What became of it; None while that is not known."""
        return self._outcome

    @property
    def outcome_at(self) -> float:
        """When that was known, on the monotonic clock."""
        return self._outcome_at

    @property
    def acked_bytes(self) -> int:
        """Bytes of this frame that the server has."""
        return self._acked

    def left_to_arrive(self, waited_bytes: int) -> int:
        """Bytes that the server does not have: of this frame, and of what was handed over before it.

        Args:
          waited_bytes: that waited when this frame was handed over; as long as nothing of it has gone, all of them do.
        """
        known = self._start is not None and self._received is not None
        before = max(0, self._start - self._received) if known else waited_bytes  # type: ignore[operator]
        return before + self.n_bytes - self._acked

    @property
    def head_round_trip_s(self) -> float | None:
        """From handing the head over until the server had it; None while it has not, or where others waited before."""
        return None if self._first_ack_at is None else self._first_ack_at - self.began

    @property
    def left_bytes(self) -> int:
        """Of the messages that the link has not taken."""
        return sum(map(len, self.messages[self._taken :]))

    def waiting_s(self, now: float) -> float:
        """Time since the server had all of it; 0 while it has not."""
        return now - self._complete_at if self._complete_at else 0.0

    def silent_s(self, now: float) -> float:
        """Time since the server was last heard of."""
        return now - (self._acked_at or self.began)

    def next_message(self, sent_bytes: int) -> bytes | None:
        """The link takes the next message; None where there is none left.

        Args:
          sent_bytes: of the whole stream so far.
        """
        if self._taken == len(self.messages) or (self._only_frame and self._outcome is not None):
            return None
        if self._start is None:
            self._start = sent_bytes
        self._taken += 1
        return self.messages[self._taken - 1]

    def acknowledge(self, received_bytes: int) -> None:
        """The server has so many bytes of the stream."""
        now = time.monotonic()
        if self._start is None:
            return
        self._received = received_bytes
        acked = min(max(0, received_bytes - self._start), self.n_bytes)
        if acked > 0 and self._first_ack_at is None:
            self._first_ack_at = now
        if acked == self.n_bytes and not self._complete_at:
            self._complete_at = now
        self._acked, self._acked_at = max(acked, self._acked), now

    def hear(self) -> None:
        """The server was heard of."""
        self._acked_at = time.monotonic()

    def finish(self, outcome: Outcome) -> None:
        """There is an outcome; later ones are ignored."""
        if self._outcome is None:
            self._outcome_at = time.monotonic()
            self._outcome = outcome
            self._wake()
