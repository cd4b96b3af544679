"""The best that any dispatcher could do, had it known the link: by dynamic programming over who ran what last.

A state is the moment at which a frame begins (a tick of the scenario, which also gives the frame), and the age of both
caches. Ages above `most_age` count as that. An action is one of

* the edge runs the frame, and nothing goes up;
* the edge runs it while the frame goes up as a refresh, where the server has run it before the edge is done: the edge
  hears of it before it begins the next frame;
* the cloud runs it.

What is minimised is the mean latency of all answered frames. Their number depends on the decisions, so it is a ratio,
and solved as one: the least sum of (latency - x) is 0 where x is the least mean (Dinkelbach 1967).

The model is that of `replay`, and the result exact for it, but for: ages above `most_age`; packets of a video, which
here go up with the next frame for the server and not while the edge runs; refreshes that would arrive late, which are
not sent; and frames that both endpoints run, which cannot help whoever knows the link, except that the edge's cache
gets younger. The last two can make a real dispatcher better than this optimum, by little.

Its values are the cost-to-go of a state: what a dispatcher that knows the link pays from there on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.offload.content.content import upload_bytes
from fluxshard.evaluate.offload.link_trace import LinkTable
from fluxshard.evaluate.offload.replay import Answered
from fluxshard.evaluate.offload.scenario import Scenario
from fluxshard.runtime.offload.dispatch import Endpoint

MOST_AGE = 32
_MOST_ROUNDS = 8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_EDGE, _REFRESH, _CLOUD = 0, 1, 2


def optimum(
    scenario: Scenario, start_mean_ms: float, most_age: int = MOST_AGE, tolerance_ms: float = 0.05
) -> tuple[Answered, ...]:
    """The frames of a stream whose mean latency is the least.

    Args:
      scenario: link, content and endpoints.
      start_mean_ms: any mean that can be reached; one that is close saves time.
      most_age: of caches, in captured frames, that are told apart.
      tolerance_ms: a round that gains less is the last one; what another would gain is much less, as each round about
        squares what is left.
    """
    table = _Table(scenario, most_age)
    mean, best = start_mean_ms, table.walk(start_mean_ms)
    for _ in range(_MOST_ROUNDS):
        found = float(np.mean([frame.latency_ms for frame in best]))
        if found >= mean - tolerance_ms:
            break
        mean = found
        best = table.walk(mean)
    return best


@dataclass(frozen=True, slots=True, eq=False)
class _Costs:
    """By frame of the content, then by age of the cache from 0, which stands for none."""

    edge_ms: Floats
    cloud_ms: Floats
    n_bytes: Floats


class _Table:
    """Values and actions of all states.

    Args:
      scenario: link, content and endpoints.
      most_age: of caches that are told apart.
    """

    def __init__(self, scenario: Scenario, most_age: int) -> None:
        self._scenario, self._most = scenario, most_age
        self._n_ticks = scenario.frames * scenario.ticks
        self._link = LinkTable(scenario.link, 1000.0 + 2 * self._n_ticks * scenario.tick_ms)
        self._costs = _costs(scenario, most_age)
        ages = np.arange(most_age + 1)
        # the age of a cache that is not renewed, after so many frames: [frames, age]
        self._older = np.where(ages == 0, 0, np.minimum(ages + ages[:, None], most_age)).astype(np.int32)
        self._older_rows = self._older * np.int32(most_age + 1)
        costs = self._costs
        cloud_ms = 2 * scenario.one_way_ms + float(costs.cloud_ms.min())
        least = scenario.pre_ms + min(float(costs.edge_ms.min()), cloud_ms)
        # frames that begin within the shortest latency do not lead to each other: their states are valued at once
        self._block = max(1, min(scenario.ticks * 64, int(least / scenario.tick_ms)))

    def walk(self, mean_ms: float) -> tuple[Answered, ...]:
        """The frames of the stream with the least sum of (latency - mean)."""
        actions = self._actions(mean_ms)
        scenario = self._scenario
        start, frame, ran = 0, 0, {"edge": -1, "cloud": -1}
        answered = []
        while frame < scenario.frames:
            edge, cloud = (min(frame - last, self._most) if last >= 0 else 0 for last in ran.values())
            action = int(actions[start, edge, cloud])
            endpoint: Endpoint = "cloud" if action == _CLOUD else "edge"
            now = start * scenario.tick_ms
            latency = self._latency_ms(endpoint, ran[endpoint], frame, now)
            answered.append(Answered(frame=frame, endpoint=endpoint, start_ms=now, latency_ms=latency, hedged=False))
            ran[endpoint] = frame
            if action == _REFRESH:
                ran["cloud"] = frame
            start, frame = scenario.next_start(start, frame, latency)
        return tuple(answered)

    def _latency_ms(self, endpoint: Endpoint, ran: int, frame: int, now: float) -> float:
        """Of one frame, for a cache of any age."""
        scenario = self._scenario
        work, ready = scenario.content.work(ran, frame), scenario.pre_ms
        if endpoint == "edge":
            return ready + scenario.edge_ms(work)
        arrived = scenario.link.arrival_ms(now + ready, upload_bytes(scenario.content, ran, ran, frame))
        return arrived - now + 2 * scenario.one_way_ms + scenario.cloud_ms(work)

    def _actions(self, mean_ms: float) -> NDArray[np.uint8]:
        """The best action of every state: `(ticks, edge's age, cloud's age)`."""
        side, ages = self._most + 1, np.arange(self._most + 1)
        # after the last frame nothing is lost any more; a frame's latency may lead beyond by as much as it likes
        values = np.zeros((self._n_ticks + 1) * side * side, np.float32)
        actions = np.zeros((self._n_ticks, side, side), np.uint8)
        for stop in range(self._n_ticks, 0, -self._block):
            starts = np.arange(max(0, stop - self._block), stop)
            edge_ms, cloud_ms = self._latencies(starts)
            edge_next, edge_passed = self._following(starts, edge_ms)
            cloud_next, cloud_passed = self._following(starts, cloud_ms)
            at_edge, at_cloud = (side * side * ticks for ticks in (edge_next, cloud_next))
            # [start, edge's age, cloud's age]
            alone = values.take((at_edge + edge_passed * side)[:, :, None] + self._older[edge_passed])
            alone += (edge_ms - mean_ms).astype(np.float32)[:, :, None]
            fresh = values.take(at_edge + edge_passed * (side + 1)) + (edge_ms - mean_ms).astype(np.float32)
            older = self._older_rows[cloud_passed[:, None, :], ages[None, :, None]]
            cloud = values.take((at_cloud + cloud_passed)[:, None, :] + older)
            cloud += (cloud_ms - mean_ms).astype(np.float32)[:, None, :]
            renewed = (cloud_ms[:, None, :] <= edge_ms[:, :, None]) & (fresh[:, :, None] < alone)
            least = np.where(renewed, fresh[:, :, None], alone)
            taken = cloud < least
            actions[starts] = np.where(taken, np.uint8(_CLOUD), renewed.view(np.uint8))  # _EDGE is 0, _REFRESH is 1
            values.reshape(-1, side, side)[starts] = np.where(taken, cloud, least)
        return actions

    def _latencies(self, starts: Ints) -> tuple[Floats, Floats]:
        """Of frames that begin at some ticks, by age of the cache: at the edge, and at the cloud."""
        scenario, costs = self._scenario, self._costs
        rows = starts // scenario.ticks % scenario.content.frames
        ready: Floats = starts.astype(np.float64) * scenario.tick_ms + scenario.pre_ms
        edge_ms = scenario.pre_ms + costs.edge_ms[rows]
        arrived = self._link.arrivals_ms(ready[:, None], costs.n_bytes[rows])
        cloud_ms = arrived - starts[:, None] * scenario.tick_ms + 2 * scenario.one_way_ms + costs.cloud_ms[rows]
        return edge_ms, cloud_ms

    def _following(self, starts: Ints, latency_ms: Floats) -> tuple[Ints, Ints]:
        """See `Scenario.next_start`: the next frame's tick, no later than the end, and captured frames until then."""
        scenario = self._scenario
        ticks = np.minimum(latency_ms / scenario.tick_ms, float(self._n_ticks))
        done = starts[:, None] + np.maximum(1, np.rint(ticks).astype(np.int64))
        frames = (starts // scenario.ticks)[:, None]
        begins = np.minimum(np.maximum(done, (frames + 1) * scenario.ticks), self._n_ticks)
        return begins, np.minimum(begins // scenario.ticks - frames, self._most)


def _costs(scenario: Scenario, most_age: int) -> _Costs:
    content = scenario.content
    edge, cloud, n_bytes = (np.zeros((content.frames, most_age + 1)) for _ in range(3))
    loops = -(-most_age // content.frames)  # so that every frame has frames before it
    for row in range(content.frames):
        frame = row + loops * content.frames
        for age in range(most_age + 1):
            ran = frame - age if age else -1
            work = content.work(ran, frame)
            edge[row, age], cloud[row, age] = scenario.edge_ms(work), scenario.cloud_ms(work)
            n_bytes[row, age] = upload_bytes(content, ran, ran, frame)
    return _Costs(edge, cloud, n_bytes)
