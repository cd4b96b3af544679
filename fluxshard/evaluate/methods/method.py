"""Methods to compare: each is a way of getting a result for every frame of a stream, on the same engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from torch import Tensor

from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.global_motion import global_shift
from fluxshard.evaluate.methods.ssim import quarter_area, quarter_bits, ssim
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.stream_loop import StreamLoop

LOWEST_CONFIDENCE = 0.1  # detections below are in no trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a method made of one frame.

    Attributes:
      found: detections in pixels of the image (of the canvas, where `origin` says so).
      origin: (y, x) of the image in those pixels.
      compute_ratio, recompute_ratio, keyframe: as in `FrameStats`.
      latency_ms: wall clock of the network's part: planning and executing, without reading detections.
    """

    found: Detections
    origin: tuple[int, int]
    compute_ratio: float
    recompute_ratio: float
    keyframe: bool
    latency_ms: float


# takes the image and the motion since the frame before
Stream = Callable[[Tensor, MotionField | None], Outcome]


class Method(Protocol):
    """A way of getting results; made once, started for every clip."""

    @property
    def name(self) -> str:
        """Unique within an evaluation."""
        ...

    @property
    def family(self) -> str:
        """Methods of one family differ in a setting only."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """Settings, for reports and for telling kept results apart."""
        ...

    def start(self, subject: CompiledNetwork) -> Stream:
        """Begins a stream."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """A session with given options.

    Attributes:
      name, family: see `Method`.
      options: of the session.
      canvas_px: of the compiled model.
      motion: "blocks" is the video's own; "none" compares at zero displacement; "global" moves everything by the best
        whole-pixel shift of the blocks' motion.
      whole: forget everything before every frame.
      regions: tell the session where objects are.
    """

    name: str
    family: str
    options: ReuseOptions
    canvas_px: int = 0
    motion: str = "blocks"
    whole: bool = False
    regions: bool = False

    @property
    def facts(self) -> Mapping[str, object]:
        """See `Method`."""
        return {
            "options": repr(self.options),
            "canvas_px": self.canvas_px,
            "motion": self.motion,
            "whole": self.whole,
            "regions": self.regions,
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
    """Computes every n-th frame whole and holds its result for the frames between.

    Attributes:
      every: n.
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
        dense = dense_method().start(subject)
        held: list[Outcome] = []
        count = 0

        def run(image: Tensor, motion: MotionField | None) -> Outcome:
            nonlocal count
            if count % self.every == 0:
                held[:] = [dense(image, motion)]
                count += 1
                return held[0]
            count += 1
            return replace(held[0], compute_ratio=0.0, recompute_ratio=0.0, keyframe=False, latency_ms=0.0)

        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Coach:
    """COACH: a frame that resembles the last computed one as a whole gets its result; others are computed whole.

    What is computed is sent first, at a quarter of its size, and the network sees what arrives. The paper does not say
    how a frame is quantised to a quarter; both ways are here.

    Attributes:
      similarity: structural similarity from which on a result is held.
      sent: "area" at half the resolution per axis, "bits" with 2 bits per colour, or "whole".
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
                held = seen[0][1]
                return replace(held, compute_ratio=0.0, recompute_ratio=0.0, keyframe=False, latency_ms=latency_ms)
            sent = image
            if seen and self.sent != "whole":  # the first frame fills the caches, and is sent as it is
                sent = quarter_area(image) if self.sent == "area" else quarter_bits(image)
            spent_ms = 1e3 * (time.perf_counter() - started)
            outcome = dense(sent, motion)
            outcome = replace(outcome, latency_ms=outcome.latency_ms + spent_ms)
            seen[:] = [(image, outcome)]
            return outcome

        return run


def dense_method() -> Reuse:
    """The network on every frame, whole: what all others are measured against."""
    return Reuse(name="dense", family="dense", options=ReuseOptions(), whole=True)


def dense_on_canvas(canvas_px: int) -> Reuse:
    """Every frame whole, on the moving canvas: what the canvas alone costs in work and accuracy."""
    # a session of planned reuse that takes every frame for a scene cut
    options = ReuseOptions(policy="planned", scene_cut=1e-9, planned=PlannedOptions(tau=0.0, refresh_frames=1))
    return Reuse(name="dense on canvas", family="dense on canvas", options=options, canvas_px=canvas_px)


def delta_cnn(tau: float) -> Reuse:
    """DeltaCNN: per-pixel differences without motion, small differences of features truncated everywhere."""
    options = ReuseOptions(rfap="off", tau_input=tau, tau=tau, scene_cut=1.0)
    return Reuse(name=f"deltacnn tau={tau:g}", family="deltacnn", options=options, motion="none")


def motion_delta_cnn(tau: float, canvas_px: int) -> Reuse:
    """MotionDeltaCNN: one motion for the whole frame, its cache on a canvas that moves along; otherwise DeltaCNN."""
    options = ReuseOptions(rfap="off", tau_input=tau, tau=tau, scene_cut=1.0)
    return Reuse(
        name=f"motion-deltacnn tau={tau:g}", family="motion-deltacnn", options=options, canvas_px=canvas_px,
        motion="global",
    )  # fmt: skip
