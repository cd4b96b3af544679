"""Plays a camera to a stream, and counts frames once it is warm."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.masks import found_objects
from fluxshard.evaluate.end_to_end.live.answers import AnswerRow, Answers
from fluxshard.evaluate.end_to_end.live.edge.meeting import ENOUGH, READY, Meeting
from fluxshard.evaluate.end_to_end.live.edge.stream import LiveStream
from fluxshard.evaluate.end_to_end.live.looped import LoopedClip, number_in_clip
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame
from fluxshard.evaluate.traces.tracing import MOST_OBJECTS
from fluxshard.models.detections.detections import Detections
from fluxshard.pipeline.stream_loop import StreamFrame
from fluxshard.runtime.offload.energy.meter import EnergyMeter
from fluxshard.video import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which frames count.

    Attributes:
      frames: at least so many that were answered.
      seconds: counting lasts a whole multiple of it: of a link whose rate repeats after as long, every second is then
        seen equally often.
      warm_s: before it begins, at least; the server has to be there by then.
      most_s: after which it ends, whatever was counted.
    """

    frames: int
    seconds: float
    warm_s: float
    most_s: float


def play(
    clip: LoopedClip,
    frames: Iterable[Frame],
    stream: LiveStream,
    window: Window,
    method: str,
    *,
    moves: bool,
    meeting: Meeting,
    meter: EnergyMeter | None = None,
) -> Answers:
    """Runs the newest frame whenever the one before is done.

    Args:
      clip: that is shown.
      frames: of the camera, each the newest there is.
      stream: of the method.
      window: what counts.
      method: its name, for the trace.
      moves: whether motion is used.
      meeting: of all edges. Counting begins when all are warm, and goes on until all have enough, for as many seconds.
      meter: is read when counting begins and when it ends.

    Raises:
      EvaluationError: the server was not there in time, or the camera ended.
      FluxShardError: the session failed.
    """
    rows: list[AnswerRow] = []
    taken: list[_Taken] = []
    opened = time.monotonic()
    counted_from, end, answered = math.inf, math.inf, 0
    busy_ms, metered_from = 0.0, None
    for ran, frame in enumerate(frames):
        now = time.monotonic()
        if now > opened + window.most_s:
            break
        if now >= opened + window.warm_s and ran >= 2 and stream.linked():
            meeting.arrive(READY)
        if counted_from == math.inf and (all_ready := meeting.latest(READY)) is not None:
            counted_from, end = now, all_ready + window.seconds
            busy_ms, metered_from = stream.busy.total_ms, _metered(meter)
        if now >= end:
            all_enough = meeting.latest(ENOUGH)
            if all_enough is not None and all_enough <= end:
                break
            while end <= now:
                end += window.seconds
        stream.before()
        shown = frame if moves else replace(frame, motion=None)
        step = stream.loop.step(shown.planes, shown.motion, shown)
        if now >= counted_from:
            answered += step.found is not None
            if answered >= window.frames:
                meeting.arrive(ENOUGH)
            before_ms, busy_ms = busy_ms, stream.busy.total_ms
            rows.append(_row(now, frame, step, counted_from, clip, busy_ms - before_ms))
            taken.append(_Taken(step.found, step.stats.keyframe, _or_zero(step.stats.recompute_ratio)))
    else:
        raise EvaluationError(f"clip {clip.name!r} ended before enough frames were counted")
    if not answered:
        raise EvaluationError(
            f"{method!r} on {clip.name!r}: no frame was answered and counted within {window.most_s:g} s; the server "
            f"{'was' if stream.linked() else 'was not'} there"
        )
    watched_ms = 1e3 * (min(end, time.monotonic()) - counted_from)
    metered_to = _metered(meter)
    metered_mj = math.nan if metered_from is None or metered_to is None else metered_to - metered_from
    # run lengths of masks take longer than a frame: they are made when the stream is over
    traced = tuple(_traced(one, row, clip) for one, row in zip(taken, rows, strict=True))
    box = clip.letterbox
    trace = Trace(clip=clip.name, method=method, picture_size=box.picture_size, frames=traced)
    return Answers.of(rows, watched_ms, trace, metered_mj)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is kept of a frame until the stream is over: pictures and outputs would be counted as the edge's memory."""

    found: Detections | None
    keyframe: bool
    recompute_ratio: float


def _metered(meter: EnergyMeter | None) -> float | None:
    return None if meter is None else meter.read_mj()


def _row(now: float, frame: Frame, step: StreamFrame, origin: float, clip: LoopedClip, busy_ms: float) -> AnswerRow:
    stats, placement = step.stats, step.placement or {}
    latency_ms = step.run_ms + step.decode_ms
    parts = [_or_zero(one) for one in (
        stats.edge_pre_ms, stats.transmission_ms, stats.server_pre_ms, stats.inference_ms,
    )]  # fmt: skip
    return AnswerRow(
        captured=frame.index, picture=number_in_clip(frame.index, len(clip.pictures)),
        captured_ms=1e3 * (frame.captured_s - origin), start_ms=1e3 * (now - origin), latency_ms=latency_ms,
        before_ms=parts[0], link_ms=parts[1], server_wait_ms=parts[2], network_ms=parts[3],
        after_ms=max(0.0, latency_ms - sum(parts)), answered=int(step.found is not None),
        cloud=int(placement.get("answered_by") == "cloud"), hedged=int(placement.get("hedged", False)),
        refreshed=int(placement.get("refreshed", False)), sent_bytes=stats.bytes_sent,
        compute=_or_zero(stats.compute_ratio), busy_ms=busy_ms,
    )  # fmt: skip


def _or_zero(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _traced(taken: _Taken, row: AnswerRow, clip: LoopedClip) -> TracedFrame:
    box = clip.letterbox
    objects: tuple[FoundObject, ...] = ()
    if taken.found is not None:
        found = taken.found.to_picture(box.scale, box.offset, box.picture_size)
        objects = found_objects(found, MOST_OBJECTS)
    return TracedFrame(
        keyframe=taken.keyframe, compute_ratio=row.compute, recompute_ratio=taken.recompute_ratio,
        latency_ms=row.latency_ms, objects=objects,
    )  # fmt: skip
