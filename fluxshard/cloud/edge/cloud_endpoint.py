"""The server's half of a stream, as the edge knows it: its cache is followed, its frame in flight is watched."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.edge.caches.server_cache import ServerCache, ServerWork
from fluxshard.cloud.edge.connection.link import CloudLink
from fluxshard.cloud.edge.connection.upload import Answered, KeyNeeded, Lost, Refused, Upload, outcome_name
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.payload.sparse import Envelope, Payload
from fluxshard.cloud.edge.placement import PlacementRecord, server_figures
from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.motion import MotionField
from fluxshard.runtime.offload.latency_profile import read_model
from fluxshard.runtime.offload.online_latency import OnlineLatency
from fluxshard.runtime.offload.pacing import most_backlog_bytes
from fluxshard.video.frame import Frame

_WEIGHT = 0.2  # of the newest frame in the mean size


@dataclass(slots=True, kw_only=True, eq=False)
class Flight:
    """A frame that was sent.

    Attributes:
      upload: its messages, and their outcome.
      work: what the server will do.
      record: of the frame.
      digest: of the pixels that the server should see; 0 where they are the frame's own.
      is_committed: the server's cache is taken to stand for it.
    """

    upload: Upload
    work: ServerWork
    record: PlacementRecord
    digest: int = 0
    is_committed: bool = False


class CloudEndpoint:
    """One stream on the server. For one thread.

    Args:
      link: to the server.
      cache: what it has cached.
      payload: makes messages.
      estimates: learn from what comes back.
      wake: called, from any thread, when there is an outcome.
    """

    def __init__(
        self,
        link: CloudLink,
        cache: ServerCache,
        payload: Payload,
        estimates: Estimates,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._link, self._cache, self._payload = link, cache, payload
        self._estimates, self._wake = estimates, wake
        self._flight: Flight | None = None
        self._seq = self._base_seq = 0
        self._bytes_per_pixel = payload.bytes_per_pixel
        self._epoch = 0
        self._is_lost = False  # what is taken to be cached is not, or no longer, on the server
        self.unlike_pixels = 0
        """Frames of which the server has decoded other pixels than the edge."""
        self._welcome: pb.Welcome | None = None

    @property
    def cache(self) -> ServerCache:
        """What the server has cached."""
        return self._cache

    @property
    def flight(self) -> Flight | None:
        """The frame that is under way."""
        return self._flight

    @property
    def wait_ms(self) -> float:
        """In the server's queue, as it last said."""
        return self._link.state.wait_ms

    @property
    def backlog_bytes(self) -> int:
        """Of earlier frames, that wait before whatever is sent next."""
        return self._link.backlog_bytes

    def expected_bytes(self, frame: Frame, work: ServerWork) -> int:
        """Bytes that a frame will take, before it is encoded: as many per pixel as the last ones, or as are known."""
        known = self._payload.known_bytes(frame)
        return round(self._bytes_per_pixel * work.pixels) if known is None else known

    def closed_because(self, frame: Frame) -> str:
        """Why this frame cannot be sent now; empty where it can."""
        state = self._link.state
        if not state.is_open:
            return state.reason or "not connected"
        if state.welcome is not self._welcome:
            return "the link has just opened"  # what is cached still stands for the connection before
        if self._flight is not None:
            return "a frame is under way"
        return self._payload.closed_because(frame)

    def advance(self, motion: MotionField | None) -> bool:
        """Takes a captured frame: what is under way will be in the server's cache, unless it says otherwise.

        Returns:
          whether the server has lost its cache since the frame before.
        """
        self.settle()
        self.assume_run()
        state = self._link.state
        if state.is_open and state.welcome is not self._welcome:  # a server that was restarted may have the same epoch
            self._epoch, self._welcome = state.epoch, state.welcome
            self._take_latency(state.welcome)
            self._is_lost = True
            self._payload.interrupt()
        lost, self._is_lost = self._is_lost, False
        if lost:  # here only, so that what was recorded can be replayed
            self._cache.reset()
        self._cache.advance(motion)
        return lost

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes where the objects of the last answered frame are."""
        self.settle()
        self.assume_run()
        self._cache.focus(regions)

    def expect(self, image: Tensor) -> ServerWork:
        """What the server would do of the frame that was captured last."""
        return self._cache.expect(image)

    def send(self, frame: Frame, work: ServerWork, record: PlacementRecord, *, answer: bool, budget_ms: int) -> Flight:
        """Sends the frame that was captured last.

        Args:
          frame: of the video.
          work: what the server will do, from `expect`.
          record: of the frame; filled as things become known.
          answer: whether the network's outputs are wanted.
          budget_ms: until there is no use for the answer; 0 where there is no limit.
        """
        began = time.perf_counter()
        self._seq += 1
        envelope = Envelope(
            seq=self._seq,
            base_seq=self._base_seq,
            epoch=self._epoch,
            wants_answer=answer,
            budget_ms=budget_ms,
            chunk_bytes=self._estimates.chunk_bytes,
        )
        messages = self._payload.messages(frame, work.order, work.motion, envelope)
        received = self._payload.received
        seen = self._cache.sent(work, received)
        self._estimates.encoded(1e3 * (time.perf_counter() - began))
        self._learn_size(sum(map(len, messages)), seen.pixels)
        upload = Upload(self._seq, messages, self._wake, only_frame=self._payload.is_sparse)
        record.cloud_keyframe, record.refreshed, record.epoch = work.order.keyframe, not answer, self._epoch
        record.bytes_sent += upload.n_bytes
        digest = 0 if received is None else received.digest
        self._flight = Flight(upload=upload, work=seen, record=record, digest=digest)
        too_large = self._too_large(messages)
        if too_large:  # a server would end the stream
            record.cloud_reason, record.bytes_sent = too_large, record.bytes_sent - upload.n_bytes
            self._payload.interrupt()
            upload.finish(Refused(wait_ms=0.0))
        else:
            self._link.submit(upload)
        return self._flight

    def _too_large(self, messages: list[bytes]) -> str:
        """Why the server does not take messages as large as these; empty where it does."""
        head, *rest = map(len, messages)
        if head > MAX_MESSAGE_BYTES:
            return "the frame's motion and masks are larger than a message may be"
        if sum(rest) > self._link.state.credit_bytes:
            return "the frame is larger than the server allows"
        return ""

    def forward(self, frame: Frame) -> int:
        """Sends what the server needs of a frame that it does not run, so that it can decode those after it.

        Returns:
          bytes of that.
        """
        if not self._link.state.is_open or self._link.state.welcome is not self._welcome:
            return 0
        if self._link.backlog_bytes > most_backlog_bytes(self._estimates.bytes_per_ms):
            self._payload.interrupt()  # the next keyframe will be there sooner than all that waits
            self._link.drop_waiting()
            return 0
        messages = self._payload.forward(frame)
        if messages:
            self._link.forward(messages)
        return sum(map(len, messages))

    def pause(self) -> None:
        """The server needs nothing of a frame that it does not run, as it will not be asked soon."""
        self._payload.pause()

    def assume_run(self) -> None:
        """The server is taken to run the frame under way, since its work has to be decided; a refusal then needs a key.

        A server that plans has no need of that.
        """
        flight = self._flight
        if flight is not None and not flight.is_committed and not self._cache.plans:
            self._commit(flight)

    def settle(self) -> None:
        """Takes the outcome of the frame under way, where there is one."""
        flight = self._flight
        outcome = None if flight is None else flight.upload.outcome
        if flight is None or outcome is None:
            return
        self._flight, record = None, flight.record
        record.cloud_outcome = outcome_name(outcome)
        if isinstance(outcome, Answered):
            if not flight.is_committed:
                self._commit(flight)
            self._answered(flight, outcome)
            if flight.digest and outcome.result.pixels_digest != flight.digest:
                record.cloud_reason = "the server has decoded other pixels than the edge"
                self.unlike_pixels += 1
                self._is_lost = True
        elif isinstance(outcome, Refused):
            if flight.is_committed:
                self._is_lost = True
        else:
            record.cloud_reason = outcome.reason
            self._is_lost = True
            if isinstance(outcome, KeyNeeded) and outcome.video:
                self._payload.interrupt()

    def close(self) -> None:
        """Ends the link; nothing is known any more of a frame that is under way."""
        self._link.close()
        if self._flight is not None:
            self._flight.upload.finish(Lost(reason="the stream was closed"))
            self.settle()

    def _learn_size(self, n_bytes: int, pixels: int) -> None:
        if pixels:
            self._bytes_per_pixel += _WEIGHT * (n_bytes / pixels - self._bytes_per_pixel)

    def _take_latency(self, welcome: pb.Welcome | None) -> None:
        """The server's own profile, where nothing is known of its latency yet."""
        if welcome is None or not welcome.latency_model or self._estimates.cloud.frames:
            return
        # of another version, or of a server that means no good: it is measured instead
        with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            model = read_model(json.loads(welcome.latency_model))
            self._estimates.cloud = OnlineLatency.from_profile(model)

    def _commit(self, flight: Flight) -> None:
        self._cache.commit(flight.work)
        self._base_seq, flight.is_committed = flight.upload.seq, True

    def _answered(self, flight: Flight, outcome: Answered) -> None:
        result, upload, record = outcome.result, flight.upload, flight.record
        work = self._cache.ran(flight.work, result)
        self._estimates.cloud_ran(work, result, upload.outcome_at, upload.head_round_trip_s)
        record.cloud_ran = True
        record.cloud_ms = 1e3 * (upload.outcome_at - upload.began)
        record.server = server_figures(result)
        if self._cache.plans:
            record.cloud_keyframe = result.keyframe
