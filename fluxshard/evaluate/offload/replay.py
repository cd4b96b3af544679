"""Replays a stream over a recorded link: which endpoint answers each frame, and when.

Time is simulated; dispatch, the estimate of the uplink and hedging are the runtime's own functions. One frame is in
flight at a time, and the newest captured one is next. What is simulated of the live edge (`fluxshard.cloud.edge`): one
upload under way at a time, and packets of the video that go up whoever answers. Both endpoints take exactly what their
curves say, and the edge knows these curves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fluxshard.evaluate.offload.hedging import hedge_start_ms
from fluxshard.evaluate.offload.scenario import Rules, Scenario
from fluxshard.evaluate.offload.uploads import Flight, Uploads
from fluxshard.runtime.offload.dispatch import DispatchInputs, Endpoint, decide
from fluxshard.runtime.offload.hedge import HedgeBudget

Strategy = Literal["edge", "cloud", "both", "oracle", "paper", "hedged", "hedged+warm"]
STRATEGIES: tuple[Strategy, ...] = ("edge", "cloud", "paper", "hedged", "hedged+warm", "both", "oracle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One frame.

    Attributes:
      frame: number of the captured frame.
      endpoint: that answered first.
      start_ms: when it was taken.
      latency_ms: from then until the answer.
      hedged: both endpoints ran it, because the cloud was late.
    """

    frame: int
    endpoint: Endpoint
    start_ms: float
    latency_ms: float
    hedged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One stream.

    Attributes:
      answered: its frames.
      sent_bytes: that went up.
      spare_bytes: of these, for frames that the edge answered: refreshes, and uploads that lost.
    """

    answered: tuple[Answered, ...]
    sent_bytes: float
    spare_bytes: float


def replay(scenario: Scenario, strategy: Strategy, rules: Rules | None = None) -> Replayed:
    """Runs a stream.

    Args:
      scenario: link, content and endpoints.
      strategy: who decides. "edge", "cloud" and "both" are static. "oracle" knows how long each upload will take, and
        takes the faster endpoint frame by frame. "paper" is Algorithm 1; "hedged" is the dispatch of the live edge
        without, and "hedged+warm" with refreshes of the server's cache.
      rules: how the rest behaves; under propagated reuse the live edge has `waits_for_edge`, too.
    """
    stream, start, frame = _Stream(scenario, strategy, rules or Rules()), 0, 0
    answered = []
    while frame < scenario.frames:
        now = start * scenario.tick_ms
        done, endpoint, hedged = stream.run(frame, now)
        answered.append(
            Answered(frame=frame, endpoint=endpoint, start_ms=now, latency_ms=done - now, hedged=hedged)
        )  # fmt: skip
        start, frame = scenario.next_start(start, frame, done - now)
    uploads = stream.uploads
    return Replayed(answered=tuple(answered), sent_bytes=uploads.sent_bytes, spare_bytes=uploads.spare_bytes)


class _Stream:
    """What a replay remembers from frame to frame."""

    def __init__(self, scenario: Scenario, strategy: Strategy, rules: Rules) -> None:
        self._scenario, self._strategy, self._rules = scenario, strategy, rules
        policy: Literal["paper", "hedged"] = "paper" if strategy == "paper" else "hedged"
        self._dispatch = replace(rules.dispatch, policy=policy)
        self.uploads = Uploads(scenario)
        self._edge_ran = -1
        self._edge_free_ms = 0.0
        self._budget = HedgeBudget(share=rules.hedge_share)

    def run(self, frame: int, now: float) -> tuple[float, Endpoint, bool]:
        """When a frame is answered, by whom, and whether both ran it because the cloud was late."""
        scenario, strategy, uploads = self._scenario, self._strategy, self.uploads
        if self._rules.waits_for_edge:
            now = max(now, self._edge_free_ms)
        self._budget = self._budget.after_frame()
        ready = now + scenario.pre_ms
        edge_ms = scenario.edge_ms(scenario.content.work(self._edge_ran, frame))
        edge_starts = max(ready, self._edge_free_ms)
        uploads.settle(now)
        flight = None if uploads.flight is not None else uploads.plan(frame, ready)
        if flight is None:  # an upload that lost is still under way
            uploads.forward(frame, ready)
            return self._edge(frame, edge_starts + edge_ms), "edge", False
        cloud_done = flight.known_ms
        if strategy == "both":
            return self._both(frame, edge_starts, edge_ms, flight)
        inputs = self._inputs(edge_ms, edge_starts - ready, flight, ready)
        decision = decide(inputs, self._dispatch)
        choice = decision.endpoint
        if strategy in ("edge", "cloud"):
            choice = "edge" if strategy == "edge" else "cloud"
        elif strategy == "oracle":
            choice = "edge" if edge_starts + edge_ms < cloud_done else "cloud"
        if choice == "edge":
            done = self._edge(frame, edge_starts + edge_ms)
            probes = strategy in ("hedged", "paper") and uploads.uplink.needs_probe(now / 1000)
            if probes or strategy == "hedged+warm":
                self._lose(flight, done)
            elif strategy != "edge":
                uploads.forward(frame, ready)
            return done, "edge", False
        if strategy.startswith("hedged"):
            at = hedge_start_ms(
                scenario, flight, ready, uploads.rate, decision.cloud_ms or 0.0, edge_ms, self._edge_free_ms,
                self._budget,
            )  # fmt: skip
            if at is not None and cloud_done > max(at, self._edge_free_ms):  # else it answers before the edge is free
                self._budget = self._budget.after_hedge()
                edge_done = self._edge(frame, max(at, self._edge_free_ms) + edge_ms)
                if edge_done < cloud_done:
                    self._lose(flight, edge_done)
                    return edge_done, "edge", True
                return self._cloud(flight), "cloud", True
        return self._cloud(flight), "cloud", False

    def _both(self, frame: int, edge_starts: float, edge_ms: float, flight: Flight) -> tuple[float, Endpoint, bool]:
        """The edge begins unless the cloud has answered before the edge is free."""
        if flight.known_ms <= edge_starts:
            return self._cloud(flight), "cloud", False
        edge_done = self._edge(frame, edge_starts + edge_ms)
        if edge_done < flight.known_ms:
            self._lose(flight, edge_done)
            return edge_done, "edge", True
        return self._cloud(flight), "cloud", True

    def _edge(self, frame: int, done: float) -> float:
        """The edge runs the frame to its end, whoever answers it."""
        self._edge_ran, self._edge_free_ms = frame, done
        return done

    def _cloud(self, flight: Flight) -> float:
        """The cloud answers."""
        self.uploads.begin(flight)
        self.uploads.settle(flight.known_ms)
        return flight.known_ms

    def _lose(self, flight: Flight, edge_done: float) -> None:
        """The edge answers a frame that goes up as well."""
        self.uploads.begin(flight, spare=True)
        if self._rules.lost_uploads == "cut":
            self.uploads.cut(edge_done)

    def _inputs(self, edge_ms: float, edge_wait_ms: float, flight: Flight, ready: float) -> DispatchInputs:
        uploads = self.uploads
        return DispatchInputs(
            edge_ms=edge_ms, cloud_ms=flight.server_ms, edge_wait_ms=edge_wait_ms,
            upload_bytes=int(flight.n_bytes), backlog_bytes=int(uploads.backlog_bytes(ready)),
            uplink_bytes_per_ms=uploads.rate, propagation_ms=self._scenario.one_way_ms,
        )  # fmt: skip
