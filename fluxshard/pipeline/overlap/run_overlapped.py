"""Frames of a video through the loop while others are read, drawn and written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.overlap.read_ahead import ReadAhead
from fluxshard.pipeline.overlap.write_behind import WriteBehind
from fluxshard.pipeline.run_video import VideoLoop, run_frame
from fluxshard.pipeline.sinks.sink import FrameSink, FrameView
from fluxshard.video import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How far the stages of a run may be apart.

    Attributes:
      ahead: most frames that have been read and wait to be run; 0 takes each when it is run, from what reads by itself.
      behind: most frames that have been run and wait to be written, at least 1.
    """

    ahead: int = 2
    behind: int = 2


LIVE = Overlap(ahead=1, behind=1)
"""For cameras and streams: a frame that waits grows old."""

NEWEST = Overlap(ahead=0, behind=1)
"""For what reads by itself, and has the newest frame when one is asked for."""


def run_overlapped(
    frames: Iterable[Frame],
    loop: VideoLoop,
    sinks: Sequence[FrameSink],
    *,
    confidence: float = 0.25,
    overlap: Overlap | None = None,
    stop: Callable[[], bool] = lambda: False,
    interrupt: Callable[[], None] = lambda: None,
) -> Generator[FrameRecord, None, None]:
    """Runs every frame through the loop, in this thread; others read the video, prepare what is written, and write it.

    Records and what sinks are given are those of `run_video`, but for times. All sinks have a frame before its record
    is yielded. Whatever ends the run, frames that have run are written and yielded first, and the threads have ended.
    Of several errors, that of the earliest frame is raised, as if the stages had taken turns.

    Args:
      frames: of a video; read in another thread, which has ended before the iteration does.
      loop: over the video's stream.
      sinks: open; each frame is written to them in this order, and they are left open.
      confidence: detections that score above it are shown; `loop.detect` may find more, for regions.
      overlap: how far the stages may be apart; None takes the defaults.
      stop: asked after each frame whether it was the last one to run.
      interrupt: ends a wait for a frame of the video that may not come, and the video with it (`LiveSource.interrupt`);
        called in any thread when a sink has failed, and when the run ends.

    Raises:
      FluxShardError, OSError: the video, the session or a sink failed.
    """
    overlap = Overlap() if overlap is None else overlap
    shows_work = any(sink.shows_work for sink in sinks)
    reading = ReadAhead(frames, overlap.ahead, interrupt) if overlap.ahead else contextlib.nullcontext(_timed(frames))
    with WriteBehind(sinks, overlap.behind, interrupt) as writer, reading as reader:
        try:
            for frame, read_ms in reader:
                start = time.perf_counter()
                image = loop.device.place(frame.planes)
                source_ms = read_ms + 1e3 * (time.perf_counter() - start)
                record, view = run_frame(frame, image, loop, confidence=confidence, source_ms=source_ms)
                writer.put(record, _lasting(view) if shows_work else view)
                yield from writer.written()
                if stop():
                    break
        except GeneratorExit:
            raise
        except BaseException:
            yield from writer.rest()  # raises where a sink has failed, which was at an earlier frame
            raise
        yield from writer.rest()


def _timed(frames: Iterable[Frame]) -> Iterator[tuple[Frame, float]]:
    """Each frame, and the wall clock of taking it in milliseconds."""
    taken = iter(frames)
    while True:
        start = time.perf_counter()
        frame = next(taken, None)
        if frame is None:
            return
        yield frame, 1e3 * (time.perf_counter() - start)


def _lasting(view: FrameView) -> FrameView:
    """The same view, with a work map that stays when the next frame runs."""
    work = view.work_map()
    return replace(view, work_map=lambda: work)
