"""Replays a stream over a recorded link: which endpoint answers each frame, and when.

Time is simulated; dispatch, the estimate of the uplink and hedging are the runtime's own functions. One frame is in
flight at a time, and the newest captured one is next. What is simulated of the live edge (`fluxshard.cloud.edge`): one
upload under way at a time, and packets of the video that go up whoever answers. Both endpoints take exactly what their
curves say, and the edge knows these curves. Several streams may share one uplink and one server.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.hedging import hedge_start_ms
from fluxshard.evaluate.offload.scenario import Rules, Scenario
from fluxshard.evaluate.offload.uploads import Flight, Shared, Uploads
from fluxshard.runtime.offload.dispatch import DispatchInputs, Endpoint, cloud_time, decide
from fluxshard.runtime.offload.hedge import HedgeBudget
from fluxshard.runtime.offload.prospects import SHARES, Prospects, may_answer

Strategy = Literal["edge", "cloud", "both", "oracle", "paper", "hedged", "hedged+warm"]
STRATEGIES: tuple[Strategy, ...] = ("edge", "cloud", "paper", "hedged", "hedged+warm", "both", "oracle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a frame's latency consists of, in milliseconds.

    Attributes:
      pre_ms: before the frame is placed; for a repeated result, what that takes, too.
      queue_ms: waiting: for the edge, for what goes up before, and until a hedge begins.
      upload_ms: from the first byte's start to the last byte's end.
      propagation_ms: both ways.
      server_wait_ms: for the server, which runs frames of other streams.
      server_ms, edge_ms: of the endpoint that answered.
    """

    pre_ms: float = 0.0
    queue_ms: float = 0.0
    upload_ms: float = 0.0
    propagation_ms: float = 0.0
    server_wait_ms: float = 0.0
    server_ms: float = 0.0
    edge_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One frame.

    Attributes:
      frame: number of the captured frame.
      endpoint: that answered first.
      start_ms: when it was taken.
      latency_ms: from then until the answer.
      hedged: both endpoints ran it, because the cloud was late.
      repeated: the last result answered it; nothing ran.
      work: of the endpoint that answered; the first kind of `Content.work`.
      busy_ms: that the edge computed for it, whoever answered, without what comes before a frame is placed.
      parts: of the latency.
    """

    frame: int
    endpoint: Endpoint
    start_ms: float
    latency_ms: float
    hedged: bool
    repeated: bool = False
    work: float = 0.0
    busy_ms: float = 0.0
    parts: Parts = Parts()


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
    return replay_together((scenario,), strategy, rules)[0]


def replay_together(
    scenarios: Sequence[Scenario], strategy: Strategy, rules: Rules | None = None
) -> tuple[Replayed, ...]:
    """Runs streams that share one uplink and one server.

    What they send goes through the uplink in the order in which it was handed over, frame by frame; TCP would mix
    frames that are sent at once, which makes the first of them later and the last one no earlier.

    Args:
      scenarios: of the streams; of one link.
      strategy, rules: of all streams, as for `replay`.

    Raises:
      EvaluationError: no streams, or different links.
    """
    if not scenarios or any(one.link != scenarios[0].link for one in scenarios):
        raise EvaluationError(f"{len(scenarios)} streams share one link: give at least one, and the same link to all")
    shared = Shared()
    streams = [_Stream(scenario, strategy, rules or Rules(), shared) for scenario in scenarios]
    # by the moment at which the next frame is placed: what is handed to the link later waits behind it
    waiting = [(scenario.offset_ms, number, 0, 0) for number, scenario in enumerate(scenarios)]
    heapq.heapify(waiting)
    while waiting:
        _, number, start, frame = heapq.heappop(waiting)
        scenario, stream = scenarios[number], streams[number]
        answered = stream.run(frame, scenario.offset_ms + start * scenario.tick_ms)
        stream.answered.append(answered)
        start, frame = scenario.next_start(start, frame, answered.latency_ms)
        if frame < scenario.frames:
            heapq.heappush(
                waiting, (stream.placed_at(scenario.offset_ms + start * scenario.tick_ms), number, start, frame)
            )
    return tuple(
        Replayed(answered=tuple(one.answered), sent_bytes=one.uploads.sent_bytes, spare_bytes=one.uploads.spare_bytes)
        for one in streams
    )


class _Stream:
    """What a replay remembers from frame to frame."""

    def __init__(self, scenario: Scenario, strategy: Strategy, rules: Rules, shared: Shared) -> None:
        self.scenario, self._strategy, self._rules = scenario, strategy, rules
        policy: Literal["paper", "hedged"] = "paper" if strategy == "paper" else "hedged"
        self._dispatch = replace(rules.dispatch, policy=policy)
        self.uploads = Uploads(scenario, shared)
        self.answered: list[Answered] = []
        self.edge_ran = self._computed = -1
        self.edge_free_ms = 0.0
        self._budget = HedgeBudget(share=rules.hedge_share)
        self._prospects = Prospects()
        self._server_may_answer = _server_may_answer(scenario, self._dispatch.margin_ms)

    def placed_at(self, start: float) -> float:
        """When a frame that begins at a time is looked at."""
        return max(start, self.edge_free_ms) if self._rules.waits_for_edge else start

    def run(self, frame: int, start: float) -> Answered:
        """Answers a frame that is taken at a time."""
        scenario, strategy, uploads = self.scenario, self._strategy, self.uploads
        now = self.placed_at(start)
        self._budget = self._budget.after_frame()
        ready = now + scenario.pre_ms
        turn = _Turn(self, frame, start, ready)
        uploads.settle(now)
        if scenario.repeats is not None and self._computed >= 0 and scenario.repeats(self._computed, frame):
            return turn.repeated()
        self._computed = frame
        if not self._asks_server(now):
            return turn.edge(turn.edge_starts)
        flight = None if uploads.flight is not None else uploads.plan(frame, ready)
        if flight is None:  # an upload that lost is still under way
            uploads.forward(frame, ready)
            return turn.edge(turn.edge_starts)
        cloud_done = flight.known_ms
        if strategy == "both":
            return turn.both(flight)
        inputs = self._inputs(turn.edge_ms, turn.edge_starts - ready, flight, ready)
        decision = decide(inputs, self._dispatch)
        choice = decision.endpoint
        if strategy in ("edge", "cloud"):
            choice = "edge" if strategy == "edge" else "cloud"
        elif strategy == "oracle":
            choice = "edge" if turn.edge_starts + turn.edge_ms < cloud_done else "cloud"
        if choice == "edge":
            answered = turn.edge(turn.edge_starts)
            probes = strategy in ("hedged", "paper") and uploads.uplink.needs_probe(now / 1000)
            if probes or strategy == "hedged+warm":
                self.lose(flight, self.edge_free_ms)
            elif strategy != "edge":
                uploads.forward(frame, ready)
            return answered
        if strategy.startswith("hedged"):
            at = hedge_start_ms(
                scenario, flight, ready, uploads.rate, decision.cloud_ms or 0.0, turn.edge_ms, self.edge_free_ms,
                self._budget, decision.accepted_ms,
            )  # fmt: skip
            if at is not None and cloud_done > max(at, self.edge_free_ms):  # else it answers before the edge is free
                self._budget = self._budget.after_hedge()
                return turn.race(flight, max(at, self.edge_free_ms))
        return turn.cloud(flight)

    def edge_runs(self, frame: int, begins: float, edge_ms: float) -> float:
        """The edge runs the frame to its end, whoever answers it; until then."""
        self.edge_ran, self.edge_free_ms = frame, begins + edge_ms
        return self.edge_free_ms

    def lose(self, flight: Flight, edge_done: float) -> None:
        """The edge answers a frame that goes up as well."""
        self.uploads.begin(flight, spare=True)
        if self._rules.lost_uploads == "cut":
            self.uploads.cut(edge_done)

    def _asks_server(self, now: float) -> bool:
        """As the live edge does, with one more frame."""
        options = self._dispatch
        if options.may_do_without and self._strategy.startswith("hedged"):
            may, ran = self._server_may_answer, self.uploads.answered
            self._prospects = self._prospects.after(may, ran, now / 1000, options.second_look_s)
        return self._prospects.asks

    def _inputs(self, edge_ms: float, edge_wait_ms: float, flight: Flight, ready: float) -> DispatchInputs:
        uploads, joules = self.uploads, self.scenario.joules
        inputs = DispatchInputs(
            edge_ms=edge_ms, cloud_ms=flight.server_ms, edge_wait_ms=edge_wait_ms,
            server_wait_ms=uploads.server_wait_ms, cloud_pre_ms=uploads.link_wait_ms,
            upload_bytes=int(flight.n_bytes), backlog_bytes=int(uploads.backlog_bytes(ready)),
            uplink_bytes_per_ms=uploads.rate, propagation_ms=self.scenario.one_way_ms,
        )  # fmt: skip
        cloud_ms = cloud_time(inputs)
        if joules is None or cloud_ms is None:
            return inputs
        return replace(inputs, edge_mj=1e3 * joules(edge_ms, edge_ms), cloud_mj=1e3 * joules(cloud_ms, 0.0))


def _server_may_answer(scenario: Scenario, margin_ms: float) -> bool:
    """Both ends take exactly what their curves say."""
    kinds = len(scenario.content.work(0, 0))
    works = ((share,) * kinds for share in SHARES)
    times = [(scenario.edge_ms(work), scenario.cloud_ms(work)) for work in works]
    return may_answer(times, scenario.one_way_ms, margin_ms)


class _Turn:
    """One frame of a stream: what either endpoint makes of it.

    Args:
      stream: of the frame.
      frame: its number.
      start: when it was taken.
      ready: when it is placed.
    """

    def __init__(self, stream: _Stream, frame: int, start: float, ready: float) -> None:
        self._stream, self._frame, self._start, self._ready = stream, frame, start, ready
        self._scenario = scenario = stream.scenario
        self._edge_work = scenario.content.work(stream.edge_ran, frame)
        self.edge_ms = scenario.edge_ms(self._edge_work)
        self.edge_starts = max(ready, stream.edge_free_ms)

    def repeated(self) -> Answered:
        """The last result answers."""
        scenario = self._scenario
        done = self._ready + scenario.repeat_ms
        parts = Parts(pre_ms=scenario.pre_ms + scenario.repeat_ms, queue_ms=self._ready - scenario.pre_ms - self._start)
        return self._answered("edge", done, parts, 0.0, repeated=True)

    def edge(self, begins: float, *, hedged: bool = False) -> Answered:
        """The edge answers."""
        done = self._stream.edge_runs(self._frame, begins, self.edge_ms)
        return self._of_edge(done, hedged)

    def cloud(self, flight: Flight, *, busy_ms: float = 0.0, hedged: bool = False) -> Answered:
        """The cloud answers."""
        scenario, uploads = self._scenario, self._stream.uploads
        work = scenario.content.work(uploads.ran, self._frame)[0]
        uploads.begin(flight)
        uploads.settle(flight.known_ms)
        parts = Parts(
            pre_ms=scenario.pre_ms, queue_ms=flight.begin_ms - scenario.pre_ms - self._start,
            upload_ms=flight.arrived_ms - flight.begin_ms, propagation_ms=2 * scenario.one_way_ms,
            server_wait_ms=flight.server_wait_ms, server_ms=flight.server_ms,
        )  # fmt: skip
        return self._answered("cloud", flight.known_ms, parts, work, busy_ms=busy_ms, hedged=hedged)

    def both(self, flight: Flight) -> Answered:
        """The edge begins unless the cloud has answered before the edge is free."""
        return self.cloud(flight) if flight.known_ms <= self.edge_starts else self.race(flight, self.edge_starts)

    def race(self, flight: Flight, edge_begins: float) -> Answered:
        """Both run the frame, and the first answer counts."""
        edge_done = self._stream.edge_runs(self._frame, edge_begins, self.edge_ms)
        if edge_done < flight.known_ms:
            self._stream.lose(flight, edge_done)
            return self._of_edge(edge_done, hedged=True)
        return self.cloud(flight, busy_ms=self.edge_ms, hedged=True)

    def _of_edge(self, done: float, hedged: bool) -> Answered:
        pre, busy = self._scenario.pre_ms, self.edge_ms
        parts = Parts(pre_ms=pre, queue_ms=done - self._start - pre - busy, edge_ms=busy)
        return self._answered("edge", done, parts, self._edge_work[0], busy_ms=busy, hedged=hedged)

    def _answered(
        self,
        endpoint: Endpoint,
        done: float,
        parts: Parts,
        work: float,
        *,
        busy_ms: float = 0.0,
        hedged: bool = False,
        repeated: bool = False,
    ) -> Answered:
        return Answered(
            frame=self._frame, endpoint=endpoint, start_ms=self._start, latency_ms=done - self._start, hedged=hedged,
            repeated=repeated, work=work, busy_ms=busy_ms, parts=parts,
        )  # fmt: skip
