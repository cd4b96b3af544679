"""The loop over one video stream: run a frame, decode its detections, mark their regions, focus the session on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.regions import regions
from fluxshard.models.tasks.result import Read, TaskResult
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.pipeline.calibrating.online_calibration import CalibratedFrame, OnlineCalibration
from fluxshard.pipeline.carrying.carrier import ResultCarrier
from fluxshard.pipeline.device import RunDevice
from fluxshard.pipeline.saliency.output_saliency import OutputSaliency
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.runtime.stats import FrameStats
from fluxshard.video.frame import Frame

# outputs of the network, on the CPU, to detections in their pixels, the best score first
Detect = Callable[[Any], Detections]
# detections of a frame, in pixels of its image, to the same with identities
Track = Callable[[Detections], Detections]


class StreamSession(Protocol):
    """The part of `fluxshard.Session` that the loop and its sinks use; see there."""

    @property
    def stats(self) -> FrameStats:
        """Measurements of the last frame."""
        ...

    @property
    def origin(self) -> tuple[int, int]:
        """(y, x) of the last frame's image on what its outputs describe."""
        ...

    @property
    def planned(self) -> PlannedFrame | None:
        """All work of the last frame, as planned before it ran; None for other policies."""
        ...

    def run(self, image: Any, motion: MotionField | None = None) -> Any:
        """Runs one frame: an image, or where the loop says so a frame of a video."""
        ...

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes the regions of the last frame."""
        ...

    def work_map(self) -> NDArray[np.float32]:
        """Executed share of the last frame's work around each 8-px cell of what the outputs describe."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamFrame:
    """One frame after the loop is done with it.

    Attributes:
      outputs: the structure that the network returns, on the CPU, half precision as float32; None where the frame was
        not computed.
      found: detections in pixels of the outputs (the image, or the canvas); None where the head is not known.
      result: what the outputs say instead, in pixels of the same; None where they say nothing, or have detections.
      regions: `(ceil(H / 8), ceil(W / 8))` uint8 that the session was focused on; None where it was not.
      stats: the session's measurements; where the frame was not computed, of the frame whose result it has, without
        any work; where it was computed whole as well, with the work and the time of both.
      origin: (y, x) of the image on what the outputs describe.
      run_ms: wall clock of the session's calls, until the device is done; or of moving the result.
      planned_work: multiply-accumulates that were planned for the frame, over those of the network on what the outputs
        describe; None for other policies than planned.
      decode_ms: wall clock of decoding the detections.
      focus_ms: wall clock of marking the regions and handing them to the session.
      placement: where the frame ran, and why; None in one place.
      carried: frames since the one that was computed for this result, which was moved here; 0: this one was.
      calibrated: what online calibration did; None without it.
    """

    outputs: Any
    found: Detections | None
    regions: NDArray[np.uint8] | None
    stats: FrameStats
    origin: tuple[int, int]
    run_ms: float
    planned_work: float | None = None
    decode_ms: float = 0.0
    focus_ms: float = 0.0
    placement: Mapping[str, Any] | None = None
    carried: int = 0
    calibrated: CalibratedFrame | None = None
    result: TaskResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamLoop:
    """One video stream through one session.

    Attributes:
      session: runs the frames and is focused on their objects.
      detect: decodes outputs, down to scores of `objects.region_confidence`. None where the head is not known.
      objects: which detections are regions. None: the session is never focused, for policies that ignore regions.
      device: where the session takes images.
      placement: where the last frame ran, for sessions in two places. They take frames of a video.
      carrier: answers frames without computing them, where that does; for planned reuse without a canvas.
      skipped: told of the frames that a carrier has answered, for sessions in two places.
      calibration: of the same session; where a carrier may be, and with `detect`.
      track: gives what was found identities; whoever records frames calls it.
      saliency: makes the regions where `detect` is None; None: then the session is not focused.
      read: says what the outputs mean where `detect` is None; None leaves them as they are.
      whole: runs a frame on the session without reuse, for frames that start anew; None: they are run as all others.
    """

    session: StreamSession
    detect: Detect | None = None
    objects: PlannedOptions | None = None
    device: RunDevice = field(default_factory=RunDevice)
    placement: Callable[[], Mapping[str, Any]] | None = None
    carrier: ResultCarrier | None = None
    skipped: Callable[[Frame], None] | None = None
    calibration: OnlineCalibration | None = None
    saliency: OutputSaliency | None = None
    read: Read | None = None
    whole: Callable[[Tensor], Any] | None = None
    track: Track | None = None

    def step(self, image: Tensor, motion: MotionField | None = None, frame: Frame | None = None) -> StreamFrame:
        """Runs the next frame and focuses the session for the one after it.

        Args:
          image: `(1, 3, H, W)` uint8 or float32 on the device.
          motion: since the frame before; None compares at zero displacement.
          frame: of the video; None where there is none.

        Raises:
          FluxShardError: the session refuses the frame or fails, or the outputs are not those of the head.
        """
        if self.calibration is not None:
            self.calibration.count()
        if self.carrier is not None:
            start = time.perf_counter()
            moved = self.carrier.carry(image, motion)
            if moved is not None:
                if self.skipped is not None and frame is not None:
                    self.skipped(frame)
                return self._carried(moved, self.carrier.age, _ms_since(start))
            motion = self.carrier.since
        if self.whole is not None and frame is not None and frame.starts_anew:
            if self.saliency is not None:
                self.saliency.reset()
            outputs, run_ms = self.device.timed(self.whole, image)
        else:
            taken = (image, motion) if self.placement is None or frame is None else (frame,)
            outputs, run_ms = self.device.timed(self.session.run, *taken)
        outputs = self.device.fetch(outputs)
        stats, planned = self.session.stats, self.session.planned
        work = None if planned is None else planned.work_ratio
        found, marked, calibrated, decode_ms, focus_ms = None, None, None, 0.0, 0.0
        result = None
        if self.detect is not None:
            start = time.perf_counter()
            found = self.detect(outputs)
            decode_ms = _ms_since(start)
            if self.calibration is not None:
                calibrated = CalibratedFrame(scale=self.calibration.scale)
                if self.calibration.is_due(planned):
                    whole, whole_ms = self.device.timed(self.calibration.run_whole, image)
                    outputs = self.device.fetch(whole)
                    stats, run_ms = _both(stats, self.session.stats), run_ms + whole_ms
                    start = time.perf_counter()
                    kept, found = found, self.detect(outputs)
                    calibrated = self.calibration.take(kept, found)
                    decode_ms += _ms_since(start)
                    work = None if work is None else work + 1
            if self.objects is not None:
                start = time.perf_counter()
                marked = regions(found, self.objects.region_confidence, self.objects.small_px)
                self.session.focus(marked)
                focus_ms = _ms_since(start)
            if self.carrier is not None:
                start = time.perf_counter()
                self.carrier.take(found, planned)
                focus_ms += _ms_since(start)
        elif self.read is not None:
            start = time.perf_counter()
            result = self.read(outputs)
            decode_ms = _ms_since(start)
        if self.detect is None and self.saliency is not None:
            start = time.perf_counter()
            marked = self.saliency.update(outputs, motion, self.session.origin)
            if marked is not None:
                self.session.focus(marked)
            focus_ms = _ms_since(start)
        return StreamFrame(
            outputs=outputs,
            found=found,
            regions=marked,
            stats=stats,
            origin=self.session.origin,
            run_ms=run_ms,
            planned_work=work,
            decode_ms=decode_ms,
            focus_ms=focus_ms,
            placement=None if self.placement is None else self.placement(),
            calibrated=calibrated,
            result=result,
        )

    def _carried(self, moved: Detections, age: int, ms: float) -> StreamFrame:
        """A frame that has the result of an earlier one."""
        stats = self.session.stats.without_work(ms)
        calibrated = None if self.calibration is None else CalibratedFrame(scale=self.calibration.scale)
        return StreamFrame(
            outputs=None, found=moved, regions=None, stats=stats, origin=self.session.origin, run_ms=ms,
            planned_work=0.0, carried=age, calibrated=calibrated,
        )  # fmt: skip


def _both(planned: FrameStats, whole: FrameStats) -> FrameStats:
    """What a frame cost that ran twice."""
    return replace(planned.with_that_of(whole), recompute_ratio=1.0)


def _ms_since(start: float) -> float:
    return 1e3 * (time.perf_counter() - start)
