"""The uplink of a replay: what is under way, what waits, and what the edge knows of it."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.evaluate.offload.content.content import upload_bytes
from fluxshard.evaluate.offload.scenario import Scenario
from fluxshard.runtime.offload.pacing import most_backlog_bytes
from fluxshard.runtime.offload.uplink import Uplink

_WEIGHT = 0.2  # of the newest upload in the mean of waits, as at the live edge


@dataclass(frozen=True, slots=True)
class Flight:
    """A frame that goes up.

    Attributes:
      frame: its number.
      n_bytes: of it.
      begin_ms: when its first byte is sent, after what waits before it.
      arrived_ms: when its last byte has gone through.
      server_ms: of the server.
      known_ms: when its answer is at the edge.
      server_wait_ms: until the server is done with frames of other streams.
      link_wait_ms: until uploads of other streams have gone through.
    """

    frame: int
    n_bytes: float
    begin_ms: float
    arrived_ms: float
    server_ms: float
    known_ms: float
    server_wait_ms: float = 0.0
    link_wait_ms: float = 0.0


@dataclass(slots=True)
class Shared:
    """What the streams of one place share: an uplink that serves in the order of arrival, and a server for one frame.

    Attributes:
      link_free_ms: when all that was handed to the uplink has gone through.
      server_free_ms: when the server has run all that it was sent.
    """

    link_free_ms: float = 0.0
    server_free_ms: float = 0.0


class Uploads:
    """One upload at a time, after packets of the video that were forwarded.

    Args:
      scenario: link and content.
      shared: with other streams; by default, the stream has all for itself.
    """

    def __init__(self, scenario: Scenario, shared: Shared | None = None) -> None:
        self._scenario = scenario
        self._shared = shared or Shared()
        self.flight: Flight | None = None
        """The upload that is under way."""
        self.uplink = Uplink()
        """What the edge knows of the link."""
        self.sent_bytes = self.spare_bytes = 0.0
        self.answered = 0
        """Frames that the server has run, as far as the edge knows."""
        self.server_wait_ms = 0.0
        """In the server's queue, as its last answer said."""
        self.link_wait_ms = 0.0
        """Mean of how long the stream's uploads waited for those of others."""
        self._ran = -1  # that the server has cached
        self._sent = -1  # up to which it has, or will have, the video's packets
        self._free_ms = 0.0  # when all that this stream handed over has gone through

    @property
    def rate(self) -> float | None:
        """Bytes per millisecond that are expected; the first answer tells the propagation."""
        return self.uplink.bytes_per_ms(self._scenario.one_way_ms if self._ran >= 0 else None)

    @property
    def ran(self) -> int:
        """The frame that the server's cache stands for, as far as the edge knows; -1: none."""
        return self._ran

    def backlog_bytes(self, now: float) -> float:
        """Bytes of this stream that wait."""
        return self._scenario.link.sent_bytes(now, self._free_ms)

    def plan(self, frame: int, ready: float) -> Flight:
        """What sending a frame would take.

        Args:
          frame: its number.
          ready: when it can begin.
        """
        scenario = self._scenario
        content, link = scenario.content, scenario.link
        n_bytes = upload_bytes(content, self._ran, self._sent, frame)
        own = max(ready, self._free_ms)
        begin = max(own, self._shared.link_free_ms)
        arrived = link.arrival_ms(begin, n_bytes)
        server_ms = scenario.cloud_ms(content.work(self._ran, frame))
        wait = max(0.0, self._shared.server_free_ms - (arrived + scenario.one_way_ms))
        known = arrived + 2 * scenario.one_way_ms + server_ms + wait
        return Flight(frame, n_bytes, begin, arrived, server_ms, known, wait, begin - own)

    def begin(self, flight: Flight, *, spare: bool = False) -> None:
        """Sends a planned frame; spare where the edge answers it."""
        self.link_wait_ms += _WEIGHT * (flight.link_wait_ms - self.link_wait_ms)
        self._shared.link_free_ms = flight.arrived_ms
        self._shared.server_free_ms = flight.known_ms - self._scenario.one_way_ms
        self.flight, self._free_ms, self._sent = flight, flight.arrived_ms, flight.frame
        self.sent_bytes += flight.n_bytes
        self.spare_bytes += flight.n_bytes if spare else 0.0

    def settle(self, now: float) -> None:
        """Takes the outcome of the upload that is under way, where it is known."""
        flight = self.flight
        if flight is None or flight.known_ms > now:
            return
        self.flight, self._ran, self.server_wait_ms = None, flight.frame, flight.server_wait_ms
        self.answered += 1
        seconds = (flight.arrived_ms - flight.begin_ms) / 1000
        self.uplink = self.uplink.after(int(flight.n_bytes), seconds, flight.arrived_ms / 1000)

    def cut(self, at: float) -> None:
        """Sends no more of the upload that is under way, unless all of it has arrived."""
        flight, link = self.flight, self._scenario.link
        assert flight is not None
        if flight.arrived_ms <= at:
            self.settle(flight.known_ms)
            return
        self.flight = None
        sent = link.sent_bytes(flight.begin_ms, at) if at > flight.begin_ms else 0.0
        self.sent_bytes -= flight.n_bytes - sent
        self.spare_bytes -= flight.n_bytes - sent
        self._release(max(at, flight.begin_ms))
        self._sent = -1  # half of a video's packet is worth nothing: it goes on with a keyframe
        if at > flight.begin_ms:
            self.uplink = self.uplink.after_cut(int(sent), (at - flight.begin_ms) / 1000, at / 1000)

    def forward(self, frame: int, ready: float) -> None:
        """Sends the video's packets of a frame that the server is not to run; none where too much waits."""
        n_bytes = self._scenario.content.video_bytes(self._sent, frame)
        if not n_bytes:
            return
        if self.backlog_bytes(ready) > most_backlog_bytes(self.rate):
            under_way = ready if self.flight is None else max(ready, self.flight.arrived_ms)
            dropped = self._scenario.link.sent_bytes(under_way, self._free_ms)  # packets that were forwarded before
            self.sent_bytes -= dropped
            self.spare_bytes -= dropped
            self._release(under_way)
            self._sent = -1
            return
        self.sent_bytes += n_bytes
        self.spare_bytes += n_bytes
        self._free_ms = self._scenario.link.arrival_ms(max(ready, self._free_ms, self._shared.link_free_ms), n_bytes)
        self._shared.link_free_ms = self._free_ms
        self._sent = frame

    def _release(self, until_ms: float) -> None:
        """What this stream has handed over ends earlier. Bytes of other streams behind it keep their places."""
        if self._shared.link_free_ms == self._free_ms:
            self._shared.link_free_ms = until_ms
        self._free_ms = until_ms
