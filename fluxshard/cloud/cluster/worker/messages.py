"""What a supervisor and its workers say to each other, as lines of JSON. Both are one program; edges never see it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from fluxshard.errors import WireError

MAX_LINE_BYTES = 8 << 20  # a report of 100,000 streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Answered with a `Description` once the worker takes streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Answered with a `Report`.

    Attributes:
      lease_s: for which the worker may serve after a report that was heard.
      heard_s: when the last report that came was sent, on the worker's clock; None before the first.
    """

    lease_s: float
    heard_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The worker may open a stream; whoever has it there under an older epoch is ended. Answered with `Done`.

    Attributes:
      stream: its name.
      identity: of the only caller that may open it.
      epoch: of the placing.
      open_s: within which it has to be opened.
    """

    stream: str
    identity: str
    epoch: int
    open_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """The worker ends a stream, if it has it under this epoch or an older one. Answered with `Done`.

    Attributes:
      stream: its name.
      epoch: of the newest placing that is over.
    """

    stream: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The worker tells a stream to go; its frame under way is still answered. Answered with `Done`.

    Attributes:
      stream: its name.
      epoch: of its placing; nothing happens where it is another.
      deadline_s: after which it is ended.
    """

    stream: str
    epoch: int
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The worker tells all streams to go, and ends when they have. Answered with `Done` before that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A worker that takes streams.

    Attributes:
      address: HOST:PORT.
      max_streams: that it takes.
      pid: of its process.
    """

    address: str
    max_streams: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What has happened on a worker since its last report.

    Attributes:
      sent_s: when, on the worker's clock.
      ended: streams that are over, with their epochs; grants that nobody has used included.
      work_s: seconds of the engine's time, by stream; of streams that had any.
      streams: that are open.
      cached_bytes: of their features.
      resident_bytes: of the process.
      running_s: for which the engine has run the frame that it runs now; 0 where it runs none.
      holds_lease: streams that are granted now can be opened.
      is_leaving: it takes no more streams, because its process was asked to end.
    """

    sent_s: float
    ended: tuple[tuple[str, int], ...] = ()
    work_s: dict[str, float] = field(default_factory=dict)
    streams: int = 0
    cached_bytes: int = 0
    resident_bytes: int = 0
    running_s: float = 0.0
    holds_lease: bool = False
    is_leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An order was followed.

    Attributes:
      is_leaving: it was not: the worker takes no more streams.
    """

    is_leaving: bool = False


Request = Describe | Beat | Grant | Revoke | Release | Stop
Answer = Description | Report | Done

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Describe, Beat, Grant, Revoke, Release, Stop, Description, Report, Done)
}


def encode(number: int, message: Request | Answer) -> bytes:
    """A message as a line.

    Args:
      number: of the request; its answer has the same.
      message: to be sent.
    """
    return json.dumps([number, type(message).__name__, asdict(message)], separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> tuple[int, Any]:
    """The number and the message of a line.

    Raises:
      WireError: it is none.
    """
    try:
        number, name, fields = json.loads(line)
        if "ended" in fields:
            fields["ended"] = tuple((stream, epoch) for stream, epoch in fields["ended"])
        message = _KINDS[name](**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise WireError("a message between supervisor and worker cannot be read") from error
    return int(number), message
