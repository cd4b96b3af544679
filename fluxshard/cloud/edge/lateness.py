"""When the edge should start beside the cloud: the upload's progress against what the edge would take."""

from __future__ import annotations

from fluxshard.cloud.edge.cloud_endpoint import Flight
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.hedge import Pace, Progress, rescue_ms, should_hedge

_LEAST_MARGIN_MS = 5.0
_PAPER_RESCUE_MS = 2000.0  # Algorithm 1 knows no hedging; a frame is answered all the same


class Lateness:
    """Watches one frame that the cloud was to answer.

    Args:
      flight: of the frame.
      record: of the frame.
      estimates: when it was sent.
      options: of dispatch.
      edge_ms: what the edge is expected to take; None while nothing is known.
    """

    def __init__(
        self,
        flight: Flight,
        record: PlacementRecord,
        estimates: Estimates,
        options: DispatchOptions,
        edge_ms: float | None,
    ) -> None:
        inputs, decision = record.inputs, record.decision
        self._upload, self._options, self._estimates = flight.upload, options, estimates
        self._edge_ms, self._edge_wait_ms = edge_ms or 0.0, inputs.edge_wait_ms
        # a margin is for choosing: however much the cloud is preferred, it is not waited for as long as that
        self._margin_ms = min(options.margin_ms, max(self._edge_ms, _LEAST_MARGIN_MS))
        self._pace = Pace.expected(self._upload.n_bytes + inputs.backlog_bytes, estimates.bytes_per_ms)
        self._step_bytes = estimates.chunk_bytes
        self._waited_bytes = inputs.backlog_bytes
        self._left_bytes = self._upload.left_to_arrive(self._waited_bytes)
        self._heard_ms = 2 * inputs.propagation_ms  # the first acknowledgement comes no earlier
        # what is expected after the last byte was acknowledged
        self._server_ms = inputs.server_wait_ms + (inputs.cloud_ms or 0.0) + estimates.rest_ms
        self._rescue_ms = rescue_ms(self._edge_ms, decision.cloud_ms or 0.0)
        self._accepted_ms = decision.accepted_ms

    def calls_for_the_edge(self, now: float) -> bool:
        """Whether the edge should start now.

        Args:
          now: on the monotonic clock.
        """
        elapsed_ms = 1e3 * (now - self._upload.began)
        if self._options.policy == "paper":
            return elapsed_ms > _PAPER_RESCUE_MS
        deadline = self._options.deadline_ms
        busy_ms = max(0.0, self._edge_wait_ms - elapsed_ms)  # that the edge still is with the frame before
        if (
            deadline is not None
            and elapsed_ms + busy_ms + self._edge_ms * self._estimates.edge_quantiles.q95 >= deadline
        ):
            return True
        left_bytes = self._upload.left_to_arrive(self._waited_bytes)
        heard_ms = max(self._heard_ms, elapsed_ms - 1e3 * self._upload.silent_s(now))
        if left_bytes < self._left_bytes:
            self._pace = self._pace.after(self._left_bytes - left_bytes, heard_ms - self._heard_ms)
            self._heard_ms = heard_ms
        self._left_bytes = left_bytes
        progress = Progress(
            left_bytes=left_bytes,
            pace=self._pace,
            elapsed_ms=elapsed_ms,
            silent_ms=max(0.0, elapsed_ms - heard_ms),
            server_ms=self._server_ms,
            waiting_ms=1e3 * self._upload.waiting_s(now),
            step_bytes=self._step_bytes,
        )
        return should_hedge(
            progress, busy_ms + self._edge_ms, self._margin_ms, self._estimates.budget, self._rescue_ms,
            self._accepted_ms,
        )  # fmt: skip
