"""Frames of a video through the loop and, for comparison, through the dense network; records and sinks are fed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.models.detections.agreement import Agreement, compare, max_difference
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.pipeline.dense_baseline import DenseBaseline
from fluxshard.pipeline.device import RunDevice
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.json_values import plain
from fluxshard.pipeline.sinks.sink import FrameSink, FrameView
from fluxshard.pipeline.stream_loop import StreamFrame, StreamSession, Track
from fluxshard.video import Frame


class VideoLoop(Protocol):
    """What answers the frames of a video, one after the other; see `StreamLoop`."""

    @property
    def session(self) -> StreamSession:
        """Runs the frames."""
        ...

    @property
    def device(self) -> RunDevice:
        """Where images are taken."""
        ...

    @property
    def track(self) -> Track | None:
        """Gives what was found identities; None leaves it without."""
        ...

    def step(self, image: Tensor, motion: MotionField | None = None, frame: Frame | None = None) -> StreamFrame:
        """Answers the next frame."""
        ...


def run_video(
    frames: Iterable[Frame],
    loop: VideoLoop,
    sinks: Sequence[FrameSink],
    *,
    confidence: float = 0.25,
    dense: DenseBaseline | None = None,
) -> Generator[FrameRecord, None, None]:
    """Runs every frame through the loop, and through the dense network where there is one.

    All sinks have a frame before its record is yielded, whatever ends the run afterwards.

    Args:
      frames: of a video.
      loop: over the video's stream.
      sinks: open; each frame is written to them in this order, and they are left open.
      confidence: detections that score above it are shown and compared; `loop.detect` may find more, for regions.
      dense: the original network; it is timed on the same frames, before and after the session in turns.

    Raises:
      FluxShardError, OSError: the video, the session or a sink failed.
    """
    iterator = iter(frames)
    for count in itertools.count():
        start = time.perf_counter()
        frame = next(iterator, None)
        if frame is None:
            return
        image = loop.device.place(frame.planes)
        source_ms = 1e3 * (time.perf_counter() - start)
        record, view = run_frame(
            frame, image, loop, confidence=confidence, source_ms=source_ms, dense=dense, dense_first=count % 2 == 1
        )
        for sink in sinks:
            sink.write(record, view)
        yield record


def run_frame(
    frame: Frame,
    image: Tensor,
    loop: VideoLoop,
    *,
    confidence: float,
    source_ms: float,
    dense: DenseBaseline | None = None,
    dense_first: bool = False,
) -> tuple[FrameRecord, FrameView]:
    """Runs the next frame through the loop, and through the dense network where there is one.

    Args:
      frame: of a video.
      image: the frame's planes, on the loop's device.
      loop, confidence, dense: see `run_video`.
      source_ms: for the record.
      dense_first: runs the dense network before the session.

    Returns:
      the frame's record, and what sinks need beside it.

    Raises:
      FluxShardError: the session refuses the frame or fails, or the outputs are not those of the head.
    """
    result, reference = _run(image, frame, loop, dense, dense_first=dense_first)
    return _record_and_view(frame, loop, result, reference, confidence, source_ms)


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """Outputs of the dense network for a frame, on the CPU, and the wall clock of its call."""

    dense: DenseBaseline
    outputs: Any
    run_ms: float


def _run(
    image: Tensor, frame: Frame, loop: VideoLoop, dense: DenseBaseline | None, *, dense_first: bool
) -> tuple[StreamFrame, _Reference | None]:
    """One frame through both; whoever runs second finds the image in the processor's cache, so they take turns."""
    if dense is None:
        return loop.step(image, frame.motion, frame), None
    floats = loop.device.place(frame.image)
    if dense_first:
        outputs, run_ms = loop.device.timed(dense.run, floats)
        result = loop.step(image, frame.motion, frame)
    else:
        result = loop.step(image, frame.motion, frame)
        outputs, run_ms = loop.device.timed(dense.run, floats)
    return result, _Reference(dense, loop.device.fetch(outputs), run_ms)


def _record_and_view(
    frame: Frame,
    loop: VideoLoop,
    result: StreamFrame,
    reference: _Reference | None,
    confidence: float,
    source_ms: float,
) -> tuple[FrameRecord, FrameView]:
    letterbox, decode_ms, found, in_picture = frame.letterbox, result.decode_ms, None, None
    if result.found is not None:
        start = time.perf_counter()
        found = _on_image(result.found, confidence, letterbox.size, result.origin, loop.track)
        decode_ms += 1e3 * (time.perf_counter() - start)
        in_picture = found.to_picture(letterbox.scale, letterbox.offset, letterbox.picture_size)
    agreement, scores, difference = None, None, None
    if reference is not None:
        agreement = _agreement(found, reference, confidence, letterbox.size)
        scores = _scores(result, reference, letterbox.size)
        if reference.dense.pairs and not result.carried:
            difference = max_difference(result.outputs, reference.outputs)
    record = FrameRecord(
        frame=frame.index,
        time_s=frame.time_s,
        stats=plain(asdict(result.stats)) | {"motion_source": frame.motion_source},
        incremental_ms=result.run_ms,
        dense_ms=None if reference is None else reference.run_ms,
        decode_ms=decode_ms,
        focus_ms=result.focus_ms,
        source_ms=source_ms,
        age_ms=1e3 * (time.monotonic() - frame.captured_s),
        agreement=agreement,
        scores=scores,
        max_difference=difference,
        detections=0 if found is None else len(found),
        origin=result.origin,
        planned_work=result.planned_work,
        carried=result.carried,
        calibrated=None if result.calibrated is None else plain(asdict(result.calibrated)),
        placement=None if result.placement is None else plain(result.placement),
        gap_s=frame.gap_s,
    )
    work_map = _no_work(letterbox.size) if result.carried else loop.session.work_map
    said = result.result
    if said is not None:
        (top, left), (y, x) = letterbox.offset, result.origin
        said = said.to_picture(letterbox.scale, (float(top + y), float(left + x)), letterbox.picture_size)
    view = FrameView(frame=frame, found=in_picture, outputs=result.outputs, work_map=work_map, result=said)
    return record, view


def _no_work(size: tuple[int, int]) -> Callable[[], NDArray[np.float32]]:
    return lambda: np.zeros((cells(size[0], CELL_PX), cells(size[1], CELL_PX)), np.float32)


def _on_image(
    found: Detections,
    confidence: float,
    size: tuple[int, int],
    origin: tuple[int, int] = (0, 0),
    track: Track | None = None,
) -> Detections:
    """Detections above the confidence, in pixels of the image.

    They are those that a suppression of their own would leave: it takes the best first, and lower scores suppress none.
    All of them are tracked: an object that is hard to see for a while is the same afterwards.
    """
    if track is not None:
        tracked = track(found.to_picture((1.0, 1.0), (float(origin[0]), float(origin[1])), size))
        return tracked.select(np.flatnonzero(tracked.scores > confidence))
    shown = found.select(np.flatnonzero(found.scores > confidence))
    return shown.to_picture((1.0, 1.0), (float(origin[0]), float(origin[1])), size)


def _scores(result: StreamFrame, reference: _Reference, size: tuple[int, int]) -> Mapping[str, float | None] | None:
    if result.result is None or reference.dense.read is None:
        return None
    expected = reference.dense.read(reference.outputs)
    if expected is None:
        return None
    origin = float(result.origin[0]), float(result.origin[1])
    found = result.result.to_picture((1.0, 1.0), origin, size)
    return found.agreement(expected.to_picture((1.0, 1.0), (0.0, 0.0), size))


def _agreement(
    found: Detections | None, reference: _Reference, confidence: float, size: tuple[int, int]
) -> Agreement | None:
    if found is None or reference.dense.detect is None:
        return None
    return compare(found, _on_image(reference.dense.detect(reference.outputs), confidence, size))
