"""What an emulated link is like."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fluxshard.errors import OptionError

MTU = 1500
LEAST_MBPS = 0.05  # a second of 0 is an outage of the measurement's resolution; a queue behind it would never drain
MOST_EDGES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """A link between edges and a server: a bottleneck on the way up, which all edges share, and delay both ways.

    Source: the FluxShard paper, section V-A: rates from traces of mobile networks and 20 ms each way.

    Attributes:
      up_mbps: rate of the way up in megabits per second, one value a second, from the start again at its end; 0 counts
        as 0.05. The way down is not limited: results are small.
      delay_up_ms, delay_down_ms: time that a packet takes beside its transmission.
      queue_bytes: packets that would wait behind more than this are dropped, as routers do. None: what the highest
        rate sends in a round trip, at least 64 KiB.
      loss: share of packets that are lost on the way up, 0..1.
      seed: of the losses.
      edges: number of edges.
      congestion_control: of connections over the link, as the kernel names it; None leaves the system's.
      initcwnd: segments that a connection begins with; None leaves the kernel's, 10.
      slow_start_after_idle: whether connections shrink their window while they pause, as the kernel does by default.

    Raises:
      OptionError: a value that is not allowed.
    """

    up_mbps: tuple[float, ...] = (100.0,)
    delay_up_ms: float = 20.0
    delay_down_ms: float = 20.0
    queue_bytes: int | None = None
    loss: float = 0.0
    seed: int = 1
    edges: int = 1
    congestion_control: str | None = None
    initcwnd: int | None = None
    slow_start_after_idle: bool = False

    def __post_init__(self) -> None:
        if not self.up_mbps or not all(math.isfinite(rate) and rate >= 0 for rate in self.up_mbps):
            raise OptionError("up_mbps must hold rates of at least 0 Mbit/s, one a second")
        for name, value in (("delay_up_ms", self.delay_up_ms), ("delay_down_ms", self.delay_down_ms)):
            if not (math.isfinite(value) and 0 <= value <= 10_000):
                raise OptionError(f"{name} (={value}) must be between 0 and 10000")
        if self.queue_bytes is not None and self.queue_bytes < MTU:
            raise OptionError(f"queue_bytes (={self.queue_bytes}) must hold a packet: at least {MTU}")
        if not 0 <= self.loss < 1:
            raise OptionError(f"loss (={self.loss}) must be at least 0 and below 1")
        if not 1 <= self.seed < 2**31:
            raise OptionError(f"seed (={self.seed}) must be between 1 and {2**31 - 1}")
        if not 1 <= self.edges <= MOST_EDGES:
            raise OptionError(f"edges (={self.edges}) must be between 1 and {MOST_EDGES}")
        if self.congestion_control is not None and not self.congestion_control.replace("_", "").isalnum():
            raise OptionError(f"congestion_control (={self.congestion_control!r}) must be a name such as cubic or bbr")
        if self.initcwnd is not None and not 1 <= self.initcwnd <= 1000:
            raise OptionError(f"initcwnd (={self.initcwnd}) must be between 1 and 1000")

    @property
    def rates(self) -> tuple[float, ...]:
        """`up_mbps` without zeros."""
        return tuple(max(LEAST_MBPS, rate) for rate in self.up_mbps)

    @property
    def queue(self) -> int:
        """Bytes that may wait on the way up."""
        if self.queue_bytes is not None:
            return self.queue_bytes
        round_trip_s = (self.delay_up_ms + self.delay_down_ms) / 1e3
        return max(64 << 10, round(max(self.rates) * 125_000 * round_trip_s))
