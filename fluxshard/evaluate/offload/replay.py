"""Replays a stream over a recorded link: which endpoint answers each frame, and when.

Time is simulated; dispatch, the estimate of the uplink and hedging are the runtime's own functions. One frame is in
flight at a time, and the newest captured one is next. An endpoint's work grows with the age of its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.runtime.offload.dispatch import DispatchInputs, DispatchOptions, Endpoint, decide
from fluxshard.runtime.offload.hedge import HedgeBudget, Progress, should_hedge
from fluxshard.runtime.offload.uplink import Uplink

Strategy = Literal["edge", "cloud", "both", "oracle", "paper", "hedged", "hedged+warm"]
STRATEGIES: tuple[Strategy, ...] = ("edge", "cloud", "paper", "hedged", "hedged+warm", "both", "oracle")

_TICK_MS = 10.0  # between two looks at an upload's progress
_HEDGE_MARGIN_MS = 5.0
_CHUNK_BYTES = 4096.0  # that are acknowledged one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is the same for all strategies.

    Attributes:
      link: rate of the uplink.
      work: share of the work per captured frame, for a cache that is one frame old, 0..1.
      edge_ms, cloud_ms: time of an endpoint at a share of work.
      upload_bytes: of a frame at a share of work, when so many captured frames have gone up since the last one.
      pre_ms: before a frame is placed.
      one_way_ms: propagation; the answer takes as long.
      period_ms: between captured frames.
    """

    link: LinkTrace
    work: Sequence[float]
    edge_ms: Callable[[float], float]
    cloud_ms: Callable[[float], float]
    upload_bytes: Callable[[float, int], float]
    pre_ms: float = 8.0
    one_way_ms: float = 20.0
    period_ms: float = 1000 / 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One frame.

    Attributes:
      frame: number of the captured frame.
      endpoint: that answered first.
      latency_ms: from its capture being taken up to the answer.
      hedged: both endpoints ran it.
    """

    frame: int
    endpoint: Endpoint
    latency_ms: float
    hedged: bool


@dataclass(frozen=True, slots=True)
class _Upload:
    """When a frame's upload begins and would end, and its bytes."""

    begin: float
    arrived: float
    n_bytes: float


@dataclass(slots=True)
class _State:
    """What a replay remembers from frame to frame."""

    ran: dict[Endpoint, int] = field(default_factory=lambda: {"edge": -1, "cloud": -1})  # last frame of each
    uplink: Uplink = field(default_factory=Uplink)
    budget: HedgeBudget = field(default_factory=HedgeBudget)
    link_free_ms: float = 0.0


def replay(scenario: Scenario, strategy: Strategy, options: DispatchOptions | None = None) -> list[Answered]:
    """Runs a stream.

    Args:
      scenario: link, content and endpoints.
      strategy: who decides. "oracle" knows how long each upload will take, and takes the faster endpoint frame by
        frame.
      options: of dispatch; the strategy sets the policy.
    """
    policy: Literal["paper", "hedged"] = "paper" if strategy == "paper" else "hedged"
    options = DispatchOptions(policy=policy) if options is None else options
    state, answered, now, frame = _State(), [], 0.0, 0
    while frame < len(scenario.work):
        done, endpoint, hedged = _run(scenario, strategy, options, state, frame, now)
        answered.append(Answered(frame=frame, endpoint=endpoint, latency_ms=done - now, hedged=hedged))
        state.budget = state.budget.after_frame()
        frame = max(frame + 1, int(done // scenario.period_ms))  # the newest captured one
        now = max(done, frame * scenario.period_ms)
    return answered


def _run(
    scenario: Scenario, strategy: Strategy, options: DispatchOptions, state: _State, frame: int, now: float
) -> tuple[float, Endpoint, bool]:
    """When a frame is answered, by whom, and whether both ran it."""
    shares = {endpoint: _share(scenario, state.ran[endpoint], frame) for endpoint in ("edge", "cloud")}
    edge_ms, cloud_ms = scenario.edge_ms(shares["edge"]), scenario.cloud_ms(shares["cloud"])
    n_bytes = scenario.upload_bytes(shares["cloud"], frame - state.ran["cloud"])
    ready = now + scenario.pre_ms
    begin = max(ready, state.link_free_ms)
    upload = _Upload(begin, scenario.link.arrival_ms(begin, n_bytes), n_bytes)
    cloud_done, edge_done = upload.arrived + 2 * scenario.one_way_ms + cloud_ms, ready + edge_ms
    if strategy == "both":
        return _raced(scenario.link, state, frame, edge_done, upload, cloud_done)
    choice: Endpoint
    if strategy in ("edge", "cloud"):
        choice = "edge" if strategy == "edge" else "cloud"
    elif strategy == "oracle":
        choice = "edge" if edge_done < cloud_done else "cloud"
    else:
        choice = decide(_inputs(scenario, state, edge_ms, cloud_ms, n_bytes, begin - ready), options).endpoint
    if choice == "edge":
        if strategy == "hedged+warm" or (strategy == "hedged" and state.uplink.needs_probe(now / 1000)):
            _refresh(scenario.link, state, frame, upload, edge_done)
        state.ran["edge"] = frame
        return edge_done, "edge", False
    if strategy.startswith("hedged"):
        start = _hedge_start(scenario, state, begin, cloud_ms, edge_ms, n_bytes, cloud_done)
        if start is not None:
            state.budget = state.budget.after_hedge()
            return _raced(scenario.link, state, frame, start + edge_ms, upload, cloud_done)
    _uploaded(state, frame, upload)
    return cloud_done, "cloud", False


def _share(scenario: Scenario, ran: int, frame: int) -> float:
    """Work for a cache that stands for an earlier frame: what changes in each frame between adds up."""
    if ran < 0:
        return 1.0
    return float(1 - np.prod(1 - np.asarray(scenario.work[ran + 1 : frame + 1])))


def _inputs(
    scenario: Scenario, state: _State, edge_ms: float, cloud_ms: float, n_bytes: float, wait_ms: float
) -> DispatchInputs:
    rate = state.uplink.bytes_per_s
    return DispatchInputs(
        edge_ms=edge_ms, cloud_ms=cloud_ms, upload_bytes=int(n_bytes), backlog_bytes=int(wait_ms * (rate or 0) / 1000),
        uplink_bytes_per_ms=None if rate is None else rate / 1000, propagation_ms=scenario.one_way_ms,
    )  # fmt: skip


def _hedge_start(
    scenario: Scenario, state: _State, begin: float, cloud_ms: float, edge_ms: float, n_bytes: float, cloud_done: float
) -> float | None:
    """When the edge starts beside an upload; None where it need not."""
    rate, at = state.uplink.bytes_per_s, begin
    while at < cloud_done:
        heard = at - 2 * scenario.one_way_ms  # when what is acknowledged now had arrived
        arrived = min(n_bytes, scenario.link.sent_bytes(begin, heard) if heard > begin else 0.0)
        acked = n_bytes if arrived >= n_bytes else arrived // _CHUNK_BYTES * _CHUNK_BYTES
        progress = Progress(
            total_bytes=int(n_bytes), acked_bytes=int(acked), elapsed_ms=heard - begin,
            silent_ms=heard - scenario.link.arrival_ms(begin, acked), server_ms=scenario.one_way_ms + cloud_ms,
        )  # fmt: skip
        expected = None if rate is None else rate / 1000
        if should_hedge(progress, expected, edge_ms, _HEDGE_MARGIN_MS, state.budget):
            return at
        at += _TICK_MS
    return None


def _raced(
    link: LinkTrace, state: _State, frame: int, edge_done: float, upload: _Upload, cloud_done: float
) -> tuple[float, Endpoint, bool]:
    """Both run. The first answer counts; whose run ends keeps its cache, and an upload that lost is cut off."""
    state.ran["edge"] = frame
    if cloud_done <= edge_done:
        _uploaded(state, frame, upload)
        return cloud_done, "cloud", True
    _refresh(link, state, frame, upload, edge_done)
    return edge_done, "edge", True


def _refresh(link: LinkTrace, state: _State, frame: int, upload: _Upload, until: float) -> None:
    """An upload beside the edge's own run: the cloud's cache is new where it arrives in time; else it is cut off."""
    if upload.arrived <= until:
        _uploaded(state, frame, upload)
    elif until > upload.begin:
        state.link_free_ms = until
        sent = link.sent_bytes(upload.begin, until)
        state.uplink = state.uplink.after_cut(int(sent), (until - upload.begin) / 1000, until / 1000)


def _uploaded(state: _State, frame: int, upload: _Upload) -> None:
    state.ran["cloud"] = frame
    state.link_free_ms = upload.arrived
    seconds = (upload.arrived - upload.begin) / 1000
    state.uplink = state.uplink.after(int(upload.n_bytes), seconds, upload.arrived / 1000)
