"""When the edge starts beside an upload in a replay: what the live edge would see of its progress, and when."""

from __future__ import annotations

from fluxshard.evaluate.offload.scenario import Scenario
from fluxshard.evaluate.offload.uploads import Flight
from fluxshard.runtime.offload.hedge import HedgeBudget, Pace, Progress, rescue_ms, should_hedge
from fluxshard.runtime.offload.pacing import chunk_bytes

_CHECK_MS = 5.0  # between two looks at an upload's progress, as in `cloud.edge.two_places`
_MARGIN_MS = 5.0


def hedge_start_ms(
    scenario: Scenario,
    flight: Flight,
    ready: float,
    rate: float | None,
    cloud_ms: float,
    edge_ms: float,
    edge_free: float,
    budget: HedgeBudget,
    accepted_ms: float = 0.0,
) -> float | None:
    """When the edge is called beside an upload; None where it is not.

    Args:
      scenario: link and endpoints.
      flight: the upload.
      ready: when it was handed to the link.
      rate: bytes per millisecond that were expected then; None where nothing was known.
      cloud_ms: in which the cloud was expected to answer.
      edge_ms: that the edge takes.
      edge_free: when it can begin.
      budget: of frames that run twice.
      accepted_ms: see `should_hedge`.
    """
    link, trip = scenario.link, 2 * scenario.one_way_ms
    chunk = chunk_bytes(rate)  # chunks are acknowledged one by one
    n_bytes, rescue = int(flight.n_bytes), rescue_ms(edge_ms, cloud_ms)

    def calls(at: float, acked: int, heard: float, pace: Pace) -> bool:
        progress = Progress(
            left_bytes=n_bytes - acked, pace=pace, elapsed_ms=at - ready, silent_ms=max(0.0, at - heard),
            server_ms=flight.server_ms, step_bytes=chunk,
        )  # fmt: skip
        return should_hedge(progress, max(0.0, edge_free - at) + edge_ms, _MARGIN_MS, budget, rescue, accepted_ms)

    acked, heard, pace, look = 0, ready + trip, Pace.expected(flight.n_bytes, rate), 0
    while acked < n_bytes:
        step = min(n_bytes, acked + chunk)
        next_heard = link.arrival_ms(flight.begin_ms, step) + trip
        # until the next acknowledgement, an upload only becomes later: it is enough to look just before that
        last = max(look, int((next_heard - ready) // _CHECK_MS))
        if calls(ready + last * _CHECK_MS, acked, heard, pace):
            first = look
            while first < last:
                middle = (first + last) // 2
                if calls(ready + middle * _CHECK_MS, acked, heard, pace):
                    last = middle
                else:
                    first = middle + 1
            return ready + first * _CHECK_MS
        pace = pace.after(step - acked, next_heard - heard)
        acked, heard, look = step, next_heard, last + 1
    return None
