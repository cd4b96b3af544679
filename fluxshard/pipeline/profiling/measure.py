"""Runs a schedule of real frames through sessions of one model, and keeps what each took and what was predicted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fluxshard.errors import VideoError
from fluxshard.ir.plan import Plan
from fluxshard.models.detections.regions import regions
from fluxshard.motion import MotionField, accumulate
from fluxshard.options import ReuseOptions
from fluxshard.pipeline.device import RunDevice
from fluxshard.pipeline.profiling.schedule import ProfilingOptions, steps
from fluxshard.pipeline.stream_loop import Detect
from fluxshard.runtime.offload.energy import EnergyMeter
from fluxshard.runtime.offload.work_features import features_of_run
from fluxshard.runtime.session import Session

# opens a clip: images `(1, C, H, W)` and their motion since the image before; called again where a clip has ended
Clip = Callable[[], Iterable[tuple[Tensor, MotionField | None]]]


class Profiled(Protocol):
    """The part of `fluxshard.CompiledModel` that is measured; see there."""

    @property
    def plan(self) -> Plan:
        """The plan of the size compiled last."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of images and results."""
        ...

    def session(self, reuse: ReuseOptions | None = None) -> Session:
        """A new video stream."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFrame:
    """One frame that counts.

    Attributes:
      work: what was predicted of it, as `work_features` gives it.
      ms: the engine's step, and assembling what the caller gets.
      keyframe: everything was recomputed.
      stream: of the schedule.
      energy_mj: energy between the call and the result; None where the meter has no sample, or there is none.
    """

    work: tuple[float, ...]
    ms: float
    keyframe: bool
    stream: int
    energy_mj: float | None = None


def measure_frames(
    model: Profiled,
    clip: Clip,
    reuse: ReuseOptions,
    options: ProfilingOptions,
    *,
    detect: Detect | None = None,
    meter: EnergyMeter | None = None,
) -> Iterator[MeasuredFrame]:
    """Runs the frames of a clip, over and over, until as many are measured as the options say.

    Args:
      model: compiled for the clip's images.
      clip: opens it.
      reuse: what to reuse.
      options: which frames are run.
      detect: decodes outputs, down to scores of `reuse.planned.region_confidence`, for planned reuse to find more near
        objects than elsewhere; None where all of the image counts as near.
      meter: of energy; None where there is none.

    Yields:
      the frames that count, in the order in which they ran.

    Raises:
      VideoError: the clip has no pictures.
      FluxShardError: a session fails.
    """
    device = RunDevice(model.device)
    cells = model.plan.grids[0].cells
    objects = reuse.planned if reuse.policy == "planned" and detect is not None else None
    with contextlib.ExitStack() as opened:
        streams = [_Stream(opened.enter_context(model.session(one))) for one in options.streams(reuse)]
        captured = opened.enter_context(contextlib.closing(_endless(clip)))
        image = None
        for step in steps(len(streams), options):
            for _ in range(step.gap):
                frame = next(captured)
                for stream in streams:
                    stream.advance(frame)
                image = frame.image
            assert image is not None  # the first step advances
            stream = streams[step.stream]
            session = stream.session
            if step.keyframe or stream.is_new:
                session.reset()
            image = device.place(image)
            before = None if meter is None else meter.read_mj()
            outputs, _ = device.timed(session.run, image, stream.since)
            after = None if meter is None else meter.read_mj()
            stream.since, stream.is_new = None, False
            if objects is not None and detect is not None:
                found = detect(device.fetch(outputs))
                session.focus(regions(found, objects.region_confidence, objects.small_px))
            if step.counts:
                stats = session.stats
                yield MeasuredFrame(
                    work=features_of_run(session.planned, session.counted, cells),
                    ms=stats.inference_ms + stats.post_ms,
                    keyframe=stats.keyframe,
                    stream=step.stream,
                    energy_mj=None if before is None or after is None else after - before,
                )


@dataclass(slots=True, eq=False)
class _Stream:
    """A session, and the motion since the frame that it ran last: None where nothing moved; new where the clip is."""

    session: Session
    since: MotionField | None = None
    is_new: bool = True

    def advance(self, frame: _Captured) -> None:
        """Takes a captured frame that this stream need not run."""
        motion, (height, width) = frame.motion, frame.image.shape[2:]
        if frame.is_first:
            self.since, self.is_new = None, True
        elif motion is not None:
            self.since = motion if self.since is None else accumulate(self.since, motion, height, width)


@dataclass(frozen=True, slots=True, eq=False)
class _Captured:
    """A frame of the clip, as `Clip` gives it; the first one has nothing to do with those before."""

    image: Tensor
    motion: MotionField | None
    is_first: bool


def _endless(clip: Clip) -> Generator[_Captured]:
    """The frames of a clip, over and over."""
    while True:
        frames = iter(clip())
        is_first = True
        try:
            for image, motion in frames:
                yield _Captured(image, motion, is_first)
                is_first = False
        finally:
            close = getattr(frames, "close", None)  # of a generator that holds a video open
            if close is not None:
                close()
        if is_first:
            raise VideoError("the clip has no pictures: give one with at least two")
