"""When the edge starts beside an upload in a replay: what the live edge would see of its progress, and when."""

from __future__ import annotations

from fluxshard.evaluate.offload.scenario import Scenario
from fluxshard.evaluate.offload.uploads import Flight
from fluxshard.runtime.offload.dispatch import DispatchInputs
from fluxshard.runtime.offload.hedge import HedgeBudget, Progress, rescue_ms, should_hedge

_CHECK_MS = 5.0  # between two looks at an upload's progress, as in `cloud.edge.two_places`
_STEP_BYTES = 16 << 10  # as in `cloud.wire.messages`
_MARGIN_MS = 5.0


def hedge_start_ms(
    scenario: Scenario, flight: Flight, ready: float, inputs: DispatchInputs, rest_ms: float, rate: float | None,
    budget: HedgeBudget, expected_ms: float,
) -> float | None:
    """When the edge starts beside an upload; None where it need not.

    Args:
      scenario: link and endpoints.
      flight: the upload.
      ready: when it was handed to the link.
      inputs: what was known of the frame.
      rest_ms: that answers take beyond what is predicted.
      rate: expected bytes per millisecond; None where it is not known.
      budget: of frames that run twice.
      expected_ms: time in which the cloud was expected to answer.
    """
    link, trip = scenario.link, 2 * scenario.one_way_ms
    n_bytes, edge_ms = int(flight.n_bytes), inputs.edge_ms or 0.0
    server_ms = flight.server_ms + rest_ms

    def calls(at: float, acked: int, since: float) -> bool:
        elapsed = at - ready - trip
        progress = Progress(
            total_bytes=n_bytes, acked_bytes=acked, elapsed_ms=elapsed, silent_ms=max(0.0, min(at - since, elapsed)),
            server_ms=server_ms, step_bytes=_STEP_BYTES,
        )  # fmt: skip
        wait = max(0.0, ready + inputs.edge_wait_ms - at)
        rescue = rescue_ms(edge_ms, expected_ms)
        return should_hedge(progress, rate, wait + edge_ms, _MARGIN_MS, budget, rescue_after_ms=rescue)

    acked, since, looks = 0, ready + trip, 0
    while acked < n_bytes:
        step = min(n_bytes, acked + _STEP_BYTES)
        heard = link.arrival_ms(flight.begin_ms, step) + trip
        # until the next acknowledgement, an upload only becomes later: it is enough to look just before that
        last = max(looks, int((heard - ready) // _CHECK_MS))
        if calls(ready + last * _CHECK_MS, acked, since):
            low, high = looks, last
            while low < high:
                middle = (low + high) // 2
                if calls(ready + middle * _CHECK_MS, acked, since):
                    high = middle
                else:
                    low = middle + 1
            return ready + low * _CHECK_MS
        acked, since, looks = step, heard, last + 1
    return None
