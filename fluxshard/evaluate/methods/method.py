"""Methods under comparison: each returns detections for every frame of a video stream.

Source: the baselines of the paper's section V-A, re-implemented on this engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, Protocol

from torch import Tensor

from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.global_motion import global_shift
from fluxshard.evaluate.methods.ssim import quarter_area, quarter_bits, ssim
from fluxshard.models.detections.advance import advance
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.calibrating.online_calibration import OnlineCalibration
from fluxshard.pipeline.calibrating.options import CalibrationOptions
from fluxshard.pipeline.carrying.carrier import ResultCarrier
from fluxshard.pipeline.carrying.options import SkipOptions
from fluxshard.pipeline.stream_loop import StreamLoop

LOWEST_CONFIDENCE = 0.1  # detections below it are not traced
LEAST_CERTAIN = 0.15  # detections below it are not moved to frames that are not computed, and calibrate nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of a method on one frame.

    Attributes:
      found: detections in pixels of the canvas (of the image, where the method has no canvas).
      origin: (y, x) of the image in those pixels.
      compute_ratio, recompute_ratio, keyframe: as in `FrameStats`.
      latency_ms: wall-clock time of planning and execution; decoding of detections not included.
    """

    found: Detections
    origin: tuple[int, int]
    compute_ratio: float
    recompute_ratio: float
    keyframe: bool
    latency_ms: float

    def repeated(self, latency_ms: float) -> Outcome:
        """The same result on a frame that nothing was computed of."""
        return replace(self, compute_ratio=0.0, recompute_ratio=0.0, keyframe=False, latency_ms=latency_ms)


# one video stream: maps an image `(1, 3, H, W)` and the motion since the previous frame to an outcome
Stream = Callable[[Tensor, MotionField | None], Outcome]


class Method(Protocol):
    """A method under comparison; made once and started once per clip."""

    @property
    def name(self) -> str:
        """Name, unique within an evaluation."""
        ...

    @property
    def family(self) -> str:
        """Name shared by methods that differ only in one setting."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """Settings as JSON values; part of reports and of the file names of traces."""
        ...

    def start(self, subject: CompiledNetwork) -> Stream:
        """Starts on a new video stream."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Reuse in a session with the given options.

    Attributes:
      name, family: see `Method`.
      options: options of the session.
      canvas_px: canvas of the compiled model, pixels per axis beyond the image.
      motion: "blocks" takes the video's motion; "none" compares at zero displacement; "global" replaces the motion by
        its `global_shift`.
      whole: resets the session before every frame, so that every frame is dense.
      regions: passes object regions to the session after every frame.
      skip: which frames are answered by the last result, moved.
      calibration: adjusts the thresholds to each clip, from the options'; None leaves them.
    """

    name: str
    family: str
    options: ReuseOptions
    canvas_px: int = 0
    motion: str = "blocks"
    whole: bool = False
    regions: bool = False
    skip: SkipOptions = field(default_factory=SkipOptions)
    calibration: CalibrationOptions | None = None

    @property
    def facts(self) -> Mapping[str, object]:
        """See `Method`."""
        return {
            "options": repr(self.options),
            "canvas_px": self.canvas_px,
            "motion": self.motion,
            "whole": self.whole,
            "regions": self.regions,
            **({"skip": asdict(self.skip)} if self.skip.budget else {}),
            **({} if self.calibration is None else {"calibration": asdict(self.calibration)}),
        }

    def start(self, subject: CompiledNetwork) -> Stream:
        """See `Method`."""
        session = subject.model(self.canvas_px).session(self.options)
        planned = self.options.planned
        lowest = min(LOWEST_CONFIDENCE, planned.region_confidence)
        loop = StreamLoop(
            session=session,
            detect=lambda outputs: subject.detect(outputs, self.canvas_px, lowest),
            objects=planned if self.regions else None,
            carrier=ResultCarrier(self.skip, session.glance, LEAST_CERTAIN) if self.skip.budget else None,
            calibration=None
            if self.calibration is None
            else OnlineCalibration(self.calibration, session, LEAST_CERTAIN),
        )

        def run(image: Tensor, motion: MotionField | None) -> Outcome:
            started = time.perf_counter()
            if self.motion == "none":
                motion = None
            elif self.motion == "global" and motion is not None:
                motion = MotionField.uniform(image.shape[2], image.shape[3], *global_shift(motion))
            if self.whole:
                session.reset()
            prepared_ms = 1e3 * (time.perf_counter() - started)
            frame = loop.step(image, motion)
            assert frame.found is not None  # a subject's head is known
            return Outcome(
                found=frame.found,
                origin=frame.origin,
                compute_ratio=frame.stats.compute_ratio,
                recompute_ratio=frame.stats.recompute_ratio,
                keyframe=frame.stats.keyframe,
                latency_ms=prepared_ms + frame.run_ms,
            )

        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Runs the dense network on every n-th frame and repeats its result for the frames between.

    Attributes:
      every: period n in frames.
      family: see `Method`.
    """

    every: int
    family: str = "skip"

    @property
    def name(self) -> str:
        """See `Method`."""
        return f"skip every={self.every}"

    @property
    def facts(self) -> Mapping[str, object]:
        """See `Method`."""
        return {"every": self.every}

    def start(self, subject: CompiledNetwork) -> Stream:
        """See `Method`."""
        return _dense_every(self.every, subject, lambda last, _: last.repeated(0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipMoved:
    """Runs the dense network on every n-th frame and moves its result along the motion for the frames between.

    Attributes:
      every: period n in frames.
      family: see `Method`.
    """

    every: int
    family: str = "skip-moved"

    @property
    def name(self) -> str:
        """See `Method`."""
        return f"skip-moved every={self.every}"

    @property
    def facts(self) -> Mapping[str, object]:
        """See `Method`."""
        return {"every": self.every, "moved": True}

    def start(self, subject: CompiledNetwork) -> Stream:
        """See `Method`."""

        def moved(last: Outcome, motion: MotionField | None) -> Outcome:
            started = time.perf_counter()
            found = advance(last.found, motion)
            return replace(last, found=found).repeated(1e3 * (time.perf_counter() - started))

        return _dense_every(self.every, subject, moved)


def _dense_every(
    every: int, subject: CompiledNetwork, between: Callable[[Outcome, MotionField | None], Outcome]
) -> Stream:
    """Runs the dense network on every n-th frame; `between` makes the others of the outcome before and the motion."""
    dense = dense_method().start(subject)
    last: list[Outcome] = []
    count = 0

    def run(image: Tensor, motion: MotionField | None) -> Outcome:
        nonlocal count
        last[:] = [between(last[0], motion) if count % every else dense(image, motion)]
        count += 1
        return last[0]

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Coach:
    """COACH: repeats the result of the last computed frame where the whole frame is similar to it, else runs it dense.

    A frame that is computed is first quantised to a quarter of its size for transmission; the network sees the
    quantised frame. The paper does not specify the quantisation; two variants are implemented.

    Source: the paper's section V-A; Gao et al., "Accelerating end-cloud collaborative inference via near bubble-free
    pipeline optimization", INFOCOM 2025.

    Attributes:
      similarity: smallest SSIM to the last computed frame at which its result is repeated.
      sent: "area": half the resolution per axis; "bits": 2 bits per channel; "whole": not quantised.
      family: see `Method`.
    """

    similarity: float
    sent: Literal["area", "bits", "whole"] = "area"
    family: str = "coach"

    @property
    def name(self) -> str:
        """See `Method`."""
        return f"coach ssim={self.similarity:g}" + ("" if self.sent == "area" else f" sent={self.sent}")

    @property
    def facts(self) -> Mapping[str, object]:
        """See `Method`."""
        return {"similarity": self.similarity, "sent": self.sent}

    def start(self, subject: CompiledNetwork) -> Stream:
        """See `Method`."""
        dense = dense_method().start(subject)
        seen: list[tuple[Tensor, Outcome]] = []

        def run(image: Tensor, motion: MotionField | None) -> Outcome:
            started = time.perf_counter()
            if seen and ssim(image, seen[0][0]) >= self.similarity:
                latency_ms = 1e3 * (time.perf_counter() - started)
                return seen[0][1].repeated(latency_ms)
            sent = image
            if seen and self.sent != "whole":  # the first frame fills the caches and is not quantised
                sent = quarter_area(image) if self.sent == "area" else quarter_bits(image)
            spent_ms = 1e3 * (time.perf_counter() - started)
            outcome = dense(sent, motion)
            outcome = replace(outcome, latency_ms=outcome.latency_ms + spent_ms)
            seen[:] = [(image, outcome)]
            return outcome

        return run


def dense_method() -> Reuse:
    """The dense network on every frame: the reference of all other methods."""
    return Reuse(name="dense", family="dense", options=ReuseOptions(), whole=True)


def dense_on_canvas(canvas_px: int) -> Reuse:
    """The dense network on every frame, on the moving canvas: isolates the canvas' cost in compute and accuracy."""
    # planned reuse that takes every frame for a scene cut
    options = ReuseOptions(policy="planned", scene_cut=1e-9, planned=PlannedOptions(tau=0.0, refresh_frames=1))
    return Reuse(name="dense on canvas", family="dense on canvas", options=options, canvas_px=canvas_px)


def delta_cnn(tau: float) -> Reuse:
    """DeltaCNN: per-pixel differences without motion compensation, truncated by one threshold at every activation.

    Source: Parger et al., DeltaCNN, CVPR 2022.
    """
    options = ReuseOptions(rfap="off", tau_input=tau, tau=tau, scene_cut=1.0)
    return Reuse(name=f"deltacnn tau={tau:g}", family="deltacnn", options=options, motion="none")


def motion_delta_cnn(tau: float, canvas_px: int) -> Reuse:
    """MotionDeltaCNN: DeltaCNN whose cache moves by one global shift per frame, on a canvas.

    Source: Parger et al., MotionDeltaCNN, ICCV 2023.
    """
    options = ReuseOptions(rfap="off", tau_input=tau, tau=tau, scene_cut=1.0)
    return Reuse(
        name=f"motion-deltacnn tau={tau:g}", family="motion-deltacnn", options=options, canvas_px=canvas_px,
        motion="global",
    )  # fmt: skip
