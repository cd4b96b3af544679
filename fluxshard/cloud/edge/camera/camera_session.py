"""A video that a server watches: frames go up as packets, and answers come down."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.edge.camera.options import WatchOptions
from fluxshard.cloud.edge.camera.packet_uplink import PacketUplink
from fluxshard.cloud.edge.camera.stats import camera_stats
from fluxshard.cloud.edge.connection.link import CloudLink, LinkState
from fluxshard.cloud.edge.connection.upload import Answered, Refused, Upload, outcome_name
from fluxshard.cloud.edge.frames import checked_frame
from fluxshard.cloud.edge.placement import PlacementRecord, server_figures
from fluxshard.cloud.wire.messages import budget_ms
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import StateError, WireError
from fluxshard.motion import MotionField
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs
from fluxshard.runtime.offload.transport import Transport
from fluxshard.runtime.stats import FrameStats
from fluxshard.video.frame import Frame

_CHECK_S = 0.05  # how often it is looked whether the link still lives


class CameraSession:
    """Has the frames of one video run on a server that decides itself what to recompute. Not thread-safe.

    Made by `fluxshard.watch`; it is a context manager that ends the link. One frame is under way at a time: give it the
    newest (`fluxshard.video.live.background.NewestFrames`), and no queue can make answers old.

    Args:
      transport: to the server.
      hello: what the server is asked for.
      request_keyframe: asks whoever encodes the video for a keyframe.
      decode: an answer, from bytes.
      options: how long to wait.
      on_link: is told, in another thread, when the link opens or is lost.
    """

    def __init__(
        self,
        transport: Transport,
        hello: pb.Hello,
        request_keyframe: Callable[[], object],
        decode: Callable[[bytes], Any],
        options: WatchOptions,
        *,
        on_link: Callable[[LinkState], None] = lambda _: None,
    ) -> None:
        self._decode, self._options, self._on_link = decode, options, on_link
        self._wake = threading.Event()
        self._link = CloudLink(transport, hello, options.link, self._notify)
        self._uplink = PacketUplink(self._link, request_keyframe, self._wake.set)
        self._flight: tuple[Upload, PlacementRecord] | None = None  # whose outcome was not taken yet
        self._stats: FrameStats | None = None
        self._record: PlacementRecord | None = None
        self._frames = 0
        self._reset = self._closed = False

    def __repr__(self) -> str:
        return f"CameraSession({'closed, ' if self._closed else ''}{self._frames} frames)"

    def __enter__(self) -> CameraSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the link; the session cannot run frames any more."""
        self._closed = True
        self._link.close()
        self._settle()

    def reset(self) -> None:
        """The server forgets what it has cached: its next frame is run whole."""
        self._reset = True

    @property
    def link(self) -> LinkState:
        """What is known of the link to the server."""
        return self._link.state

    @property
    def record(self) -> PlacementRecord:
        """What became of the last frame, and why.

        Raises:
          StateError: there was no frame.
        """
        if self._record is None:
            raise StateError("session has run no frame yet")
        return self._record

    @property
    def stats(self) -> FrameStats:
        """Measurements of the last frame; NaN where nobody ran it.

        Raises:
          StateError: there was no frame.
        """
        if self._stats is None:
            raise StateError("session has run no frame yet")
        return self._stats

    @property
    def origin(self) -> tuple[int, int]:
        """(0, 0): the server has no canvas."""
        return 0, 0

    @property
    def planned(self) -> None:
        """None: what the server plans, it does not tell."""
        return None

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Does nothing: the server knows where the objects are."""

    def work_map(self) -> NDArray[np.float32]:
        """Raises StateError: where the server has recomputed, it does not tell."""
        raise StateError("a server that plans does not tell where it has recomputed")

    def run(self, image: Frame, motion: MotionField | None = None) -> Any:
        """Has a frame run.

        Args:
          image: a frame of the video, with its packets.
          motion: not used: the server finds it in the packets.

        Returns:
          detections in pixels of the image, or the network's outputs, as the options say; None where there is no
          answer, and `record` says why.

        Raises:
          ShapeError: it is no frame of a video.
          VideoError: the frame has no packets.
          StateError: the session is closed.
        """
        if self._closed:
            raise StateError("session is closed; make a new one with fluxshard.watch()")
        frame, started = checked_frame(image), time.monotonic()
        deadline_ms = self._options.deadline_ms
        until = math.inf if deadline_ms is None else started + deadline_ms / 1e3
        if self._frames == 0:
            self._wait(lambda: self._link.state.is_open, min(until, started + self._options.first_wait_s))
        self._wait(lambda: not self._uplink.is_busy, until)
        self._settle()
        record = PlacementRecord(
            frame=self._frames,
            inputs=DispatchInputs(edge_ms=None, cloud_ms=None),
            decision=Decision(endpoint="cloud", edge_ms=None, cloud_ms=None, reason="the server plans"),
            answered_by="none",
            cloud_open=self._uplink.closed_because(frame),
        )
        self._frames += 1
        if record.cloud_open:
            record.bytes_sent = self._uplink.forward(frame)
            sent = time.monotonic()
        else:
            sent = self._send(frame, record, until).began
        outputs, answered = self._answer(record, until)
        record.latency_ms = 1e3 * (time.monotonic() - started)
        size = (frame.pixels.shape[0], frame.pixels.shape[1])
        self._record = record
        self._stats = camera_stats(record, answered, size, pre_ms=1e3 * (sent - started))
        return outputs

    def _send(self, frame: Frame, record: PlacementRecord, until: float) -> Upload:
        left_ms = 1e3 * (until - time.monotonic())
        budget = budget_ms(None if math.isinf(left_ms) else left_ms)
        keyframe, self._reset = self._reset, False
        upload = self._uplink.send(frame, keyframe=keyframe, budget_ms=budget)
        record.cloud_keyframe, record.epoch, record.bytes_sent = keyframe, self._link.state.epoch, upload.n_bytes
        self._flight = (upload, record)
        return upload

    def _answer(self, record: PlacementRecord, until: float) -> tuple[Any, Answered | None]:
        """Waits for the answer to a frame, where it was sent."""
        if self._flight is None or self._flight[1] is not record:
            record.is_settled = True
            return None, None
        upload = self._flight[0]
        self._wait(lambda: upload.outcome is not None, until)
        outcome = upload.outcome
        if outcome is None:
            record.cloud_outcome = "late"
            return None, None
        self._settle()
        if not isinstance(outcome, Answered):
            return None, None
        try:
            outputs = self._decode(outcome.answer)
        except WireError as error:
            record.cloud_reason = str(error)
            return None, None
        record.answered_by = "cloud"
        return outputs, outcome

    def _settle(self) -> None:
        """Takes the outcome of the frame under way, where there is one; that of a late frame is only learnt from."""
        if self._flight is None or (outcome := self._flight[0].outcome) is None:
            return
        (upload, record), self._flight = self._flight, None
        self._uplink.learn(outcome)
        record.is_settled = True
        if isinstance(outcome, Answered):
            record.cloud_ran, record.cloud_ms = True, 1e3 * (upload.outcome_at - upload.began)
            record.server = server_figures(outcome.result)
        else:
            record.cloud_reason = "" if isinstance(outcome, Refused) else outcome.reason
        record.cloud_outcome = record.cloud_outcome or outcome_name(outcome)

    def _wait(self, is_over: Callable[[], bool], until: float) -> None:
        while not is_over() and (left := until - time.monotonic()) > 0:
            self._wake.wait(min(left, _CHECK_S))
            self._wake.clear()

    def _notify(self, state: LinkState) -> None:
        """In the links' thread."""
        self._on_link(state)
        self._wake.set()
