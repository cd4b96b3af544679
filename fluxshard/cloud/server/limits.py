"""What a server allows, and who calls it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from fluxshard.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Limits of a server.

    Attributes:
      max_streams: connected at the same time.
      max_streams_per_identity: of one caller; 0 allows as many as there are.
      cache_bytes: of all streams' cached features; idle streams are evicted before a new one is refused.
      max_frame_bytes: of one frame's payload, and of one packet.
      hello_s: within which a caller has to say what it wants.
      upload_s: within which a frame has to arrive once it has begun.
      park_s: without a frame after which a stream's cache is packed, until the next one; 0: never.
      lease_s: without a frame after which a stream's cache is freed.
      idle_s: without any message after which a stream is ended.
      retry_s: after which a refused caller should ask again.

    Raises:
      OptionError: a value that is not allowed.
    """

    max_streams: int = 72
    max_streams_per_identity: int = 0
    cache_bytes: int = 8 << 30
    max_frame_bytes: int = 16 << 20
    hello_s: float = 5.0
    upload_s: float = 20.0
    park_s: float = 10.0
    lease_s: float = 60.0
    idle_s: float = 600.0
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("max_streams_per_identity", "park_s") else 1e-3
            if not (math.isfinite(value) and value >= least):
                raise OptionError(f"{field.name} (={value}) must be a finite number of at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who opened a stream, as the transport knows it.

    Attributes:
      identity: proven by a certificate or a token; empty where the server is open.
      address: of the peer, for logs.
      prefix: that names of its streams have to begin with.
    """

    identity: str = ""
    address: str = ""
    prefix: str = ""
