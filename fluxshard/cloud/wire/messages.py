"""Messages of the protocol as bytes, and payloads in chunks. Sizes are bounded before anything is kept."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import WireError
from fluxshard.runtime.offload.pacing import CHUNK_BYTES

PROTOCOL = 3
MIN_CHUNK_BYTES = 1 << 10  # all but the last of a payload: a payload in single bytes would be a million messages
MAX_MESSAGE_BYTES = 1 << 20  # a frame's head: motion that is noise takes 440 kB at 3840 x 2176, masks 260 kB
MAX_ANSWER_BYTES = 64 << 20
_MOST_MS = 2**32 - 1  # of a field: 49 days


def read_up(data: bytes) -> pb.Up:
    """A message of an edge.

    Raises:
      WireError: too large, damaged, or of no known kind.
    """
    message = pb.Up()
    _parse(message, data)
    return message


def read_down(data: bytes) -> pb.Down:
    """A message of a server.

    Raises:
      WireError: as `read_up`.
    """
    message = pb.Down()
    _parse(message, data)
    return message


def chunks(seq: int, payload: bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[pb.Chunk]:
    """A payload in chunks; none for an empty one."""
    for offset in range(0, len(payload), chunk_bytes):
        yield pb.Chunk(seq=seq, offset=offset, data=payload[offset : offset + chunk_bytes])


def whole_ms(seconds: float) -> int:
    """A time as messages have it: whole milliseconds, at most as many as a field holds."""
    return min(_MOST_MS, max(0, round(1e3 * seconds)))


def budget_ms(deadline_ms: float | None) -> int:
    """The time that a frame has, as messages say it: at least 1 ms, since 0 is no limit, and at most what they can say.

    Args:
      deadline_ms: what is left of it, which may be nothing or less; None for no limit.
    """
    return 0 if deadline_ms is None else max(1, whole_ms(deadline_ms / 1e3))


def checksum(*parts: bytes) -> int:
    """CRC-32 of parts that follow each other: TLS finds what was changed on the way, plain TCP not all of it."""
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found


class Assembly:
    """A payload of known size that arrives in chunks.

    Args:
      n_bytes: of all of it.
      crc32: of all of it, and of what comes before.
      before: it.
    """

    def __init__(self, n_bytes: int, crc32: int, before: tuple[bytes, ...] = ()) -> None:
        self._expected, self._crc32, self._before = n_bytes, crc32, before
        self._parts: list[bytes] = []
        self.received = 0
        """Bytes so far."""

    @property
    def is_complete(self) -> bool:
        """All of it has arrived."""
        return self.received == self._expected

    def add(self, chunk: pb.Chunk) -> None:
        """Takes the next chunk.

        Raises:
          WireError: out of order, too small, or more than was announced.
        """
        size = len(chunk.data)
        if chunk.offset != self.received:
            raise WireError("a chunk is out of order")
        if self.received + size > self._expected:
            raise WireError("a payload is longer than announced")
        if size < MIN_CHUNK_BYTES and self.received + size != self._expected:
            raise WireError(f"a chunk is smaller than {MIN_CHUNK_BYTES} bytes")
        self._parts.append(chunk.data)
        self.received += size

    def payload(self) -> bytes:
        """All of it.

        Raises:
          WireError: incomplete, or damaged.
        """
        if not self.is_complete:
            raise WireError("a payload is incomplete")
        content = b"".join(self._parts)
        if checksum(*self._before, content) != self._crc32:
            raise WireError("a payload is damaged")
        return content


def _parse(message: pb.Up | pb.Down, data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message is larger than {MAX_MESSAGE_BYTES} bytes")
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireError("a message cannot be read") from None
    if message.WhichOneof("kind") is None:
        raise WireError("a message is of no known kind")
