"""A session in two places: every frame is answered by the edge or by the server, whichever is done first."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.edge.caches.edge_frame import EdgeFrame
from fluxshard.cloud.edge.caches.last_seen import LastSeen
from fluxshard.cloud.edge.caches.server_cache import ServerWork
from fluxshard.cloud.edge.cloud_endpoint import CloudEndpoint, Flight
from fluxshard.cloud.edge.connection.upload import Answered
from fluxshard.cloud.edge.edge_runner import EdgeRunner
from fluxshard.cloud.edge.estimates import Estimates, Work
from fluxshard.cloud.edge.lateness import Lateness
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.wire.messages import budget_ms
from fluxshard.errors import WireError
from fluxshard.motion import MotionField
from fluxshard.runtime.endpoints.engine_stream import Ran
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.offload.dispatch import DispatchInputs, DispatchOptions, Endpoint, cloud_time, decide
from fluxshard.runtime.offload.prospects import Prospects
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.video.frame import Frame

_CHECK_S = 0.005  # how often an upload's progress is looked at
_TOO_SLOW = "even at its best it is slower than the edge"
Features = Callable[[Proposal], Work]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwoPlacesAnswer:
    """What became of a frame.

    Attributes:
      outputs: of the network, or detections.
      record: where it went, and why.
      proposal: of the endpoint that answered; None where that was a server that plans.
      ran: of the edge; None where the cloud answered.
      cloud: of the server; None where the edge answered.
      pre_ms: deciding and encoding.
      edge_wait_ms: for the frame before, which still ran on the edge.
    """

    outputs: Any
    record: PlacementRecord
    proposal: Proposal | None
    ran: Ran | None
    cloud: Answered | None
    pre_ms: float
    edge_wait_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _EdgeRun:
    """A frame that the edge runs, or has run: what was predicted of it, and where it is recorded."""

    future: Future[Ran]
    work: Work
    record: PlacementRecord


class TwoPlaces:
    """Both endpoints of one stream at one size of image. For one thread; `close` it.

    Args:
      edge: mirror of the edge's cache.
      runner: runs frames here.
      cloud: the server's half.
      seen: what later frames are compared with, where the server plans; None where it does not.
      estimates: what is known of both.
      options: of dispatch.
      features: what latency is predicted from.
      kinds: how many these are.
      decode: the server's answer, from bytes.
      finish: what is made of the edge's outputs, so that both give the same.
      keep_warm: send the server what the edge has answered.
      overlaps: frames may be placed while the edge still runs the one before. Not where its input is assembled in
        place: the next proposal would overwrite what it reads.
      wake: is set when either has news.
      settled: is given the records in order, each when nothing of its frame is under way any more.
    """

    def __init__(
        self,
        *,
        edge: Mirror,
        runner: EdgeRunner,
        cloud: CloudEndpoint,
        seen: LastSeen | None,
        estimates: Estimates,
        options: DispatchOptions,
        features: Features,
        kinds: int,
        decode: Callable[[bytes], Any],
        finish: Callable[[Any], Any],
        keep_warm: bool,
        overlaps: bool,
        wake: threading.Event,
        settled: Callable[[PlacementRecord], None],
    ) -> None:
        self._edge, self._runner, self._cloud, self._seen = edge, runner, cloud, seen
        self._estimates, self._options, self._features, self._kinds = estimates, options, features, kinds
        self._decode, self._finish, self._keep_warm, self._overlaps = decode, finish, keep_warm, overlaps
        self._wake, self._settled = wake, settled
        self._prospects = Prospects()
        self._frame = 0
        self._edge_is_lost = False
        self._waited_ms = 0.0  # in this frame, for the edge
        self._skipped_bytes, self._skipped_lost = 0, False  # what the next record is told of frames without one
        self._answered_by: Endpoint = "edge"  # the last frame
        self._unsettled: deque[PlacementRecord] = deque()
        self._edge_run: _EdgeRun | None = None  # whose time is still to be learnt

    @property
    def cloud(self) -> CloudEndpoint:
        """The server's half."""
        return self._cloud

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes where the objects of the last answered frame are, for both endpoints, or what of them is here."""
        self._edge.focus(regions)
        self._cloud.focus(regions)
        if self._seen is not None:
            self._seen.focus(regions)

    def glance(self, image: Tensor, motion: MotionField | None) -> NDArray[np.bool_] | None:
        """See `OffloadedSession.glance`."""
        if self._seen is not None:
            return self._seen.glance(image, motion)
        return (self._edge if self._answered_by == "edge" else self._cloud.cache).glance(image, motion)

    def changed(self) -> NDArray[np.bool_] | None:
        """See `OffloadedSession.changed`, where the server plans."""
        return None if self._seen is None else self._seen.changed()

    def skip(self, frame: Frame) -> None:
        """Takes a frame that nobody runs: both caches move with it, and what a later one needs of it goes up."""
        self._advance(frame.motion)
        self._skipped_lost |= self._cloud.advance(frame.motion)
        self._skipped_bytes += self._forward(frame)
        self._frame += 1
        self._settle()

    def run(self, frame: Frame) -> TwoPlacesAnswer:
        """Answers a frame.

        Raises:
          FluxShardError: the edge failed, and the server has not answered either.
        """
        started, self._waited_ms = time.monotonic(), 0.0
        if not self._overlaps or self._options.policy == "paper":
            self._wait_for_edge()
        elif not self._runner.is_running:
            self._learn_edge()
        edge_lost, self._edge_is_lost = self._edge_is_lost, False
        if edge_lost:
            self._edge.reset()
        self._advance(frame.motion)
        cloud_lost = self._cloud.advance(frame.motion) or self._skipped_lost
        self._settle()
        image = frame.planes.to(self._runner.device)
        edge = EdgeFrame(self._edge, image, self._estimates, self._features, self._kinds)
        closed = self._cloud.closed_because(frame) if self._asks_server() else _TOO_SLOW
        cloud = None if closed else self._cloud.expect(image)
        inputs = self._inputs(frame, edge, cloud)
        decision = decide(inputs, self._options)
        placed_ms = _ms_since(started)
        record = PlacementRecord(frame=self._frame, inputs=inputs, decision=decision, cloud_open=closed)
        record.edge_lost, record.cloud_lost = edge_lost, cloud_lost
        record.bytes_sent, self._skipped_bytes, self._skipped_lost = self._skipped_bytes, 0, False
        record.edge_tested = edge.proposal is not None
        record.edge_work = None if edge.proposal is None else edge.proposal.predicted_work
        record.cloud_work = None if cloud is None else cloud.share
        record.server_planned = self._cloud.cache.plans
        self._frame += 1
        self._estimates.budget = self._estimates.budget.after_frame()
        flight: Flight | None = None
        if decision.endpoint == "cloud":
            assert cloud is not None
            flight = self._send(frame, cloud, record, answer=True)
        else:
            self._start_edge(edge, record)  # first: what the server is sent takes it no time
            if cloud is not None and self._wants_refresh():
                self._send(frame, cloud, record, answer=False)
            else:
                record.bytes_sent += self._forward(frame)
        record.pre_ms = _ms_since(started)
        if self._seen is not None:  # now that others are busy with the frame
            self._seen.take(image)
        self._unsettled.append(record)  # also where nobody answers: the server may have the frame
        outputs, ran, answered = self._first(record, edge, flight)
        record.answered_by = self._answered_by = "edge" if answered is None else "cloud"
        record.latency_ms = _ms_since(started)
        if answered is not None:
            # never early: a frame of one chunk takes no time between its first and its last
            upload_late_ms = max(0.0, answered.result.upload_ms - _upload_ms(inputs))
            # what was over when the frame was placed, such as the edge's own test, is no part of the cloud's time
            self._estimates.cloud_answered(record.latency_ms - placed_ms, decision.cloud_ms, upload_late_ms)
        self._settle()
        proposal = edge.tested() if answered is None or cloud is None else cloud.proposal
        return TwoPlacesAnswer(
            outputs=outputs, record=record, proposal=proposal, ran=ran, cloud=answered,
            pre_ms=record.pre_ms - self._waited_ms, edge_wait_ms=self._waited_ms,
        )  # fmt: skip

    def close(self) -> None:
        """Ends the link and the edge's thread."""
        self._cloud.close()
        self._runner.close()
        self._learn_edge()
        self._settle()

    def _first(
        self, record: PlacementRecord, edge: EdgeFrame, flight: Flight | None
    ) -> tuple[Any, Ran | None, Answered | None]:
        """Waits for the first answer; starts the edge where the cloud is late or cannot answer.

        Where the edge fails, the cloud may still answer.
        """
        lateness = None
        if flight is not None:
            lateness = Lateness(flight, record, self._estimates, self._options, edge.expected_ms())
        while True:
            outcome = None if flight is None else flight.upload.outcome
            if isinstance(outcome, Answered):
                try:
                    return self._decode(outcome.answer), None, outcome
                except WireError as error:
                    record.cloud_reason, outcome, flight = str(error), None, None
            run, failed = self._edge_run, flight is None or outcome is not None
            if run is not None and run.record is not record:  # of an earlier frame, which the cloud has answered
                busy, run = not run.future.done(), None
                if not busy:
                    self._learn_edge()
            else:
                busy = False
            if run is not None and run.future.done() and (failed or run.future.exception() is None):
                self._learn_edge()
                ran = run.future.result()
                return self._finish(ran.outputs), ran, None
            late = run is None and not failed and lateness is not None and lateness.calls_for_the_edge(time.monotonic())
            if run is None and not busy and (failed or late):
                if edge.proposal is None:
                    edge.tested()
                    continue  # the cloud may have answered meanwhile
                if late:
                    self._estimates.budget = self._estimates.budget.after_hedge()
                record.hedged = True
                self._start_edge(edge, record)
            self._wake.wait(_CHECK_S)
            self._wake.clear()

    def _start_edge(self, edge: EdgeFrame, record: PlacementRecord) -> None:
        self._wait_for_edge()
        if self._edge_is_lost:  # the frame before has failed meanwhile, and the proposal builds on it
            self._edge_is_lost, record.edge_lost = False, True
            edge.lose()
        proposal = edge.commit()
        record.edge_ran, record.edge_keyframe, record.edge_work = True, proposal.keyframe, proposal.predicted_work
        self._edge_run = _EdgeRun(self._runner.start(proposal), edge.work, record)

    def _wait_for_edge(self) -> None:
        """Waits for the frame that the edge still runs."""
        started = time.monotonic()
        self._runner.wait()
        self._learn_edge()
        self._waited_ms += _ms_since(started)

    def _edge_wait_ms(self) -> float:
        """Until the edge is expected to be free."""
        run = self._edge_run
        if run is None or not self._runner.is_running:
            return 0.0
        expected_ms = self._estimates.edge.predict_ms(run.work) or 0.0
        return max(0.0, expected_ms - _ms_since(self._runner.began))

    def _settle(self) -> None:
        """Hands on the records of frames that are over."""
        self._cloud.settle()
        flight, run = self._cloud.flight, self._edge_run
        under_way = (None if flight is None else flight.record, None if run is None else run.record)
        while self._unsettled and not any(self._unsettled[0] is record for record in under_way):
            record = self._unsettled.popleft()
            record.is_settled = True
            self._settled(record)

    def _learn_edge(self) -> None:
        """Takes the time of a frame that the edge has run, whoever answered it."""
        run, self._edge_run = self._edge_run, None
        if run is None:
            return
        if run.future.exception() is not None:  # raised where it was waited for
            self._edge_is_lost = True
            run.record.edge_ran = False
            return
        ms = run.future.result().ms
        self._estimates.edge_ran(run.work, ms, self._estimates.edge.predict_ms(run.work))
        run.record.edge_ms = ms

    def _advance(self, motion: MotionField | None) -> None:
        self._edge.advance(motion)
        if self._seen is not None:
            self._seen.advance(motion)

    def _send(self, frame: Frame, work: ServerWork, record: PlacementRecord, *, answer: bool) -> Flight:
        budget = budget_ms(self._options.deadline_ms if answer else None)
        return self._cloud.send(frame, work, record, answer=answer, budget_ms=budget)

    def _asks_server(self) -> bool:
        """Whether anything is to be had from the server, with one more frame; see `DispatchOptions.second_look_s`."""
        options, estimates = self._options, self._estimates
        if options.may_do_without:
            may, ran = estimates.server_may_answer(self._kinds, options.margin_ms), estimates.cloud.frames
            self._prospects = self._prospects.after(may, ran, time.monotonic(), options.second_look_s)
        return self._prospects.asks

    def _forward(self, frame: Frame) -> int:
        """Sends what a server that is asked needs of a frame that it does not run; returns bytes of that."""
        if self._prospects.asks:
            return self._cloud.forward(frame)
        self._cloud.pause()
        return 0

    def _wants_refresh(self) -> bool:
        """Keeping the server warm costs energy. An estimate of the uplink that is too old is worth nothing, though."""
        keep_warm = self._keep_warm and self._options.minimize == "latency"
        return keep_warm or self._estimates.uplink.needs_probe(time.monotonic())

    def _inputs(self, frame: Frame, edge: EdgeFrame, cloud: ServerWork | None) -> DispatchInputs:
        """What is known of a frame. The edge tests it here, unless the cloud would be chosen for all likely work."""
        estimates, uplink = self._estimates, self._estimates.uplink
        inputs = DispatchInputs(
            edge_ms=None, cloud_ms=None, edge_wait_ms=self._edge_wait_ms(), edge_q95=estimates.edge_quantiles.q95,
            cloud_open=cloud is not None,
        )  # fmt: skip
        if cloud is not None:
            inputs = replace(
                inputs,
                cloud_ms=estimates.cloud_ms(cloud.kinds),
                server_wait_ms=self._cloud.wait_ms,
                backlog_bytes=self._cloud.backlog_bytes,
                cloud_pre_ms=estimates.encode_ms + estimates.rest_ms,
                upload_bytes=self._cloud.expected_bytes(frame, cloud),
                uplink_bytes_per_ms=estimates.bytes_per_ms,
                propagation_ms=1e3 * uplink.propagation_s,
                cloud_q95=estimates.cloud_quantiles.q95,
            )
            inputs = replace(inputs, cloud_mj=estimates.cloud_mj(cloud_time(inputs), inputs.upload_bytes))
        least = replace(inputs, edge_ms=edge.least_ms(), edge_mj=estimates.edge_mj(edge.least))
        # more work never makes the edge the better choice; the paper's algorithm tests both caches all the same
        if self._options.policy == "hedged" and decide(least, self._options).endpoint == "cloud":
            return least
        edge.tested()
        return replace(inputs, edge_ms=edge.expected_ms(), edge_mj=estimates.edge_mj(edge.work))


def _upload_ms(inputs: DispatchInputs) -> float:
    """Time that a frame's upload was expected to take."""
    return inputs.upload_bytes / inputs.uplink_bytes_per_ms if inputs.uplink_bytes_per_ms else 0.0


def _ms_since(start: float) -> float:
    return 1e3 * (time.monotonic() - start)
