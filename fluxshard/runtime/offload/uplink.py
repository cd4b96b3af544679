"""The uplink's rate, from what the receiver acknowledges."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

PROBE_AFTER_S = 2.0
MIN_SAMPLE_BYTES = 16 << 10  # less fits the buffers on the way and says nothing about the rate
_LEAST_SLOW_BYTES = 4 << 10  # buffers make a small upload fast, never slow
_HALF_WEIGHT_BYTES, _HALF_WEIGHT_S = 256 << 10, 0.5  # either halves the weight of everything before
_STALL = 4.0  # so many times slower than known is no rate but a stall


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """What is known of the uplink. Immutable: `after` gives the next one.

    The rate is a mean of bytes per second, weighted by bytes, so that many small frames outvote no large one, and by
    time, so that a stream of small frames follows the link within a second. Samples come from the receiver's own clock,
    between the first and the last byte of one frame, so neither the offset of two clocks nor data that waited in a
    buffer bends them.

    An upload that took several times longer than it should have is a stall. When it has arrived, the stall is over: its
    rate is forgotten, and the next sample starts the mean anew, whatever it is. Kept in a mean of times per byte, one
    stall of seconds would pin a stream of small frames to its edge for half a minute.

    Source: B in Eq. 18 of the FluxShard paper, an exponentially weighted moving average.

    Attributes:
      bytes_per_s: the estimate; None before the first sample.
      propagation_s: half of the shortest round trip so far, without the server's own time.
      slow_start_s: extra time of a frame after a pause, learnt.
      last_sent_s: when the last upload ended, on the edge's monotonic clock; None before the first.
      cut: the last upload was given up, or stalled: the next one that is measured starts the mean anew.
    """

    bytes_per_s: float | None = None
    propagation_s: float = 0.0
    slow_start_s: float = 0.0
    last_sent_s: float | None = None
    cut: bool = False

    def bytes_per_ms(self, propagation_ms: float | None) -> float | None:
        """The rate. Before any payload was large enough to tell: what would fit into half a round trip.

        Args:
          propagation_ms: one way; None where it is not known either.
        """
        if self.bytes_per_s is not None:
            return self.bytes_per_s / 1e3
        return None if propagation_ms is None else MIN_SAMPLE_BYTES / max(1.0, propagation_ms)

    def after(self, n_bytes: int, seconds: float, now_s: float) -> Uplink:
        """With one more measured upload.

        Args:
          n_bytes: that the receiver saw arrive after the first chunk.
          seconds: that they took to arrive, on the receiver's clock.
          now_s: on the edge's monotonic clock.
        """
        sent = replace(self, last_sent_s=now_s)
        if n_bytes < _LEAST_SLOW_BYTES or not (math.isfinite(seconds) and seconds > 0):
            return sent
        rate, known = n_bytes / seconds, self.bytes_per_s
        if n_bytes < MIN_SAMPLE_BYTES and (known is None or rate >= known):
            return sent
        if known is None or self.cut:
            return replace(sent, bytes_per_s=rate, cut=False)
        if rate < known / _STALL:
            return replace(sent, cut=True)
        passed_s = max(0.0, now_s - (now_s if self.last_sent_s is None else self.last_sent_s))
        keep = 0.5 ** (n_bytes / _HALF_WEIGHT_BYTES + passed_s / _HALF_WEIGHT_S)
        # times per byte are what adds up, so they are what is averaged: one fast sample must not hide a slow link
        per_byte = keep / known + (1 - keep) / rate
        return replace(sent, bytes_per_s=1 / per_byte)

    def after_cut(self, n_bytes: int, seconds: float, now_s: float) -> Uplink:
        """With an upload that was given up because it took too long: the link is no faster than what it showed.

        A link that has stalled shows next to nothing, which no mean of full uploads would ever contain.

        Args:
          n_bytes: that had arrived.
          seconds: that the upload took so far.
          now_s: on the edge's monotonic clock.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            return self
        seen = max(n_bytes, 1) / seconds
        rate = seen if self.bytes_per_s is None else min(self.bytes_per_s, seen)
        return replace(self, bytes_per_s=rate, last_sent_s=now_s, cut=True)

    def after_round_trip(self, seconds: float) -> Uplink:
        """With one more round trip of a small message, the server's own time taken off."""
        if not (math.isfinite(seconds) and seconds > 0):
            return self
        half = seconds / 2
        return replace(self, propagation_s=min(self.propagation_s, half) if self.propagation_s else half)

    def needs_probe(self, now_s: float) -> bool:
        """Whether the estimate is too old to be believed: one bad sample would pin a stream to its edge for ever."""
        return self.last_sent_s is None or now_s - self.last_sent_s > PROBE_AFTER_S

    def probe_bytes(self) -> int:
        """What a probe has to send at least: a bandwidth-delay product, or what makes a sample."""
        product = (self.bytes_per_s or 0.0) * 2 * self.propagation_s
        return max(MIN_SAMPLE_BYTES, math.ceil(product))

    def upload_s(self, n_bytes: int, backlog_bytes: int, idle_s: float) -> float | None:
        """Time until a frame's last byte has arrived; None where the rate is not known.

        Args:
          n_bytes: of the frame.
          backlog_bytes: that wait before it.
          idle_s: since the last upload: after a pause the sender starts slowly.
        """
        if self.bytes_per_s is None:
            return None
        ramp = self.slow_start_s if idle_s > max(0.2, 2 * self.propagation_s) else 0.0
        return ramp + (n_bytes + backlog_bytes) / self.bytes_per_s + self.propagation_s
