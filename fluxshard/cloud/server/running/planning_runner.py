"""Frames whose work the server decides itself, as a session in one place does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fluxshard.cloud.server.images import Mask
from fluxshard.cloud.server.running.frame_runner import FrameWork, RanFrame
from fluxshard.cloud.server.served_model import ServedModel
from fluxshard.cloud.wire.detections_codec import encode_detections
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import WireError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.regions import regions
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.engine_stream import Ran, on_cpu
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.runtime.session import Session


class PlanningRunner:
    """See `FrameRunner`. Every frame can be run: what is not cached is computed.

    The session is focused on the objects of the frame before, where the model's head is known.

    Args:
      model: that the stream runs.
      reuse: what to reuse.
      answer: "outputs" or "detections".
      confidence: detections that are answered score above it; fainter ones are regions, too.
      iou: overlap above which the lower score is suppressed.

    Raises:
      RefusedError: the model has no such answers.
      WireError: thresholds outside 0..1, or options that do not fit the model.
    """

    def __init__(self, model: ServedModel, reuse: ReuseOptions, *, answer: str, confidence: float, iou: float) -> None:
        self._model, self._reuse, self._confidence = model, reuse, confidence
        self._encode = model.encoder(answer, confidence, iou)
        if not (0 <= confidence <= 1 and 0 <= iou <= 1):
            raise WireError("thresholds of detections must be between 0 and 1")
        model.orders(reuse)  # refuses options that do not fit
        self._answers_detections = answer == "detections"
        objects = reuse.planned if reuse.policy == "planned" else None
        self._detect: Callable[[Any], Detections] | None = None
        if model.detect is not None and (self._answers_detections or objects is not None):
            lowest = confidence if self._answers_detections else 1.0
            self._detect = model.detect(lowest if objects is None else min(lowest, objects.region_confidence), iou)
        self._objects = objects
        self._session: Session | None = None
        self._whole_bytes = 0  # of a parked session
        self._interrupted = False

    def read(self, frame: pb.Frame) -> FrameWork:
        """See `FrameRunner.read`."""
        if frame.motion or frame.masks:
            raise WireError("a frame says what to compute, and the server plans this stream")
        return FrameWork(order=WorkOrder(keyframe=frame.keyframe))

    def needs_key(self, frame: pb.Frame) -> str:
        """See `FrameRunner.needs_key`."""
        return ""

    def mask(self, work: FrameWork) -> Mask:
        """See `FrameRunner.mask`; pictures of a video are whole."""
        return np.ones(self._model.plan.image_size, np.bool_)

    def start(self) -> int:
        """See `FrameRunner.start`."""
        if self._session is None:
            program = self._model.program
            self._session = Session(lambda _: program, self._reuse)
            self._session.prepare(torch.empty(1, 3, *self._model.plan.image_size, device=program.engine.torch_device))
        return self._whole_bytes if self._session.parked else self._session.state_bytes

    def park(self) -> int | None:
        """See `FrameRunner.park`."""
        session = self._session
        if session is None or not session.can_park:
            return None
        self._whole_bytes = session.state_bytes
        session.park(threads=1)  # the other streams' frames have the other processors
        return session.state_bytes

    def task(
        self, frame: pb.Frame, work: FrameWork, image: Tensor, motion: MotionField | None
    ) -> Callable[[], RanFrame]:
        """See `FrameRunner.task`."""
        session, wants_answer = self._session, frame.wants_answer
        assert session is not None
        restart, self._interrupted = work.order.keyframe or self._interrupted, False

        def run() -> RanFrame:
            if restart:
                session.reset()
            outputs = session.run(image.to(self._model.program.engine.torch_device), motion)
            stats = session.stats
            ran = Ran(
                outputs=outputs,
                counts=session.counted,
                compute_ratio=stats.compute_ratio,
                inference_ms=stats.inference_ms,
                post_ms=stats.post_ms,
            )
            began = time.perf_counter()
            answer = self._finish(session, outputs, wants_answer=wants_answer)
            answer_ms = 1e3 * (time.perf_counter() - began)
            return RanFrame(ran=ran, answer=answer, answer_ms=answer_ms, plan_ms=stats.edge_pre_ms)

        return run

    def ran(self, frame: pb.Frame) -> None:
        """Does nothing: frames do not say what they build on."""

    def interrupt(self) -> None:
        """See `FrameRunner.interrupt`: features restart with the video."""
        self._interrupted = True

    def free(self) -> None:
        """See `FrameRunner.free`."""
        self._session = None

    def _finish(self, session: Session, outputs: Any, *, wants_answer: bool) -> bytes:
        """Makes the answer, and focuses the session for the next frame."""
        found = None if self._detect is None else self._detect(on_cpu(outputs))
        if found is not None and self._objects is not None:
            session.focus(regions(found, self._objects.region_confidence, self._objects.small_px))
        if not wants_answer:
            return b""
        if found is None or not self._answers_detections:
            return self._encode(outputs)
        # those that a suppression of their own would leave: it takes the best first, and lower scores suppress none
        return encode_detections(found.select(np.flatnonzero(found.scores > self._confidence)))
