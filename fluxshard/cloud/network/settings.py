"""What both ends of a gRPC connection agree on, and how each is set."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES
from fluxshard.errors import OptionError

SERVICE, STREAM = "fluxshard.offload.v1.Offload", "Stream"
METHOD = f"/{SERVICE}/{STREAM}"

Options = list[tuple[str, str | int]]

_HANDSHAKE_S = 10  # a peer that connects and says nothing holds a file descriptor
_IDLE_S = 60  # a connection without a stream; edges open one for each stream
_MIN_PING_MS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """Pings that find a link on which nothing arrives any more.

    Attributes:
      every_s: without a byte from the peer after which it is pinged.
      patience_s: without an answer after which the connection is closed.

    Raises:
      OptionError: a time that is not above 0.
    """

    every_s: float = 10.0
    patience_s: float = 5.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value > 0 for value in (self.every_s, self.patience_s)):
            raise OptionError(f"keepalive times (={self.every_s}, {self.patience_s}) must be finite and above 0")

    def options(self) -> Options:
        """Of a channel or a server. A stream without frames is pinged, too: a camera may pause for minutes."""
        return [
            ("grpc.keepalive_time_ms", round(1e3 * self.every_s)),
            ("grpc.keepalive_timeout_ms", round(1e3 * self.patience_s)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]


def client_options(keepalive: Keepalive) -> Options:
    """Options of a channel that is made for one stream.

    Channels that share connections also share gRPC's pauses between attempts, which grow to minutes.
    """
    return [("grpc.use_local_subchannel_pool", 1), *_message_options(), *keepalive.options()]


def server_options(keepalive: Keepalive) -> Options:
    """Options of a server. It lets clients ping as often as they like: gRPC's own limit cuts streams that pause."""
    return [
        ("grpc.so_reuseport", 0),  # or a second server on the port would take every other stream
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_MS),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server_handshake_timeout_ms", 1000 * _HANDSHAKE_S),
        ("grpc.max_connection_idle_ms", 1000 * _IDLE_S),
        *_message_options(),
        *keepalive.options(),
    ]


def _message_options() -> Options:
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
