"""How a camera or stream is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from fluxshard.errors import OptionError
from fluxshard.video.sources.decoders import TIMEOUT_S, Transport

FrameChoice = Literal["auto", "every", "newest"]
Reconnect = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """How a camera or stream is read.

    Attributes:
      frames: "every" gives all frames; up to `waiting` of them wait, then reading does. "newest" drops those that a
        newer one has overtaken. "auto" takes the newest of what comes by the sender's clock (cameras, RTSP and the
        like), and every frame of what waits for its reader (HTTP, HLS, TCP).
      waiting: frames that may wait, with "every".
      reconnect: "auto" opens a source again that has broken off or timed out, for ever; an orderly end is the end of
        TCP streams and of files over HTTP, and that of a connection elsewhere. "always" goes on there, too. "never"
        makes an error of what broke off.
      timeout_s: longest time in seconds without an answer, or without a picture while other things come; then the
        source has broken off.
      transport: what RTSP comes over: "tcp", or "udp", which loses packets instead of delaying them.
      first_delay_s: before a source is opened again; it doubles with each time that is in vain, and a random part of
        it, half at most, is left out.
      most_delay_s: what it grows to.

    Raises:
      OptionError: a value is not allowed.
    """

    frames: FrameChoice = "auto"
    waiting: int = 8
    reconnect: Reconnect = "auto"
    timeout_s: float = TIMEOUT_S
    transport: Transport = "tcp"
    first_delay_s: float = 0.5
    most_delay_s: float = 30.0

    def __post_init__(self) -> None:
        for name, choices in (("frames", FrameChoice), ("reconnect", Reconnect), ("transport", Transport)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise OptionError(f"{name} (={value!r}) must be one of {', '.join(map(repr, get_args(choices)))}")
        if isinstance(self.waiting, bool) or not isinstance(self.waiting, int) or self.waiting < 1:
            raise OptionError(f"waiting (={self.waiting!r}) must be a number of frames, at least 1")
        for name in ("timeout_s", "first_delay_s", "most_delay_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name} (={value!r}) must be a finite number of seconds above 0")
        if self.most_delay_s < self.first_delay_s:
            raise OptionError(
                f"most_delay_s (={self.most_delay_s}) must not be below first_delay_s (={self.first_delay_s})"
            )
