"""Runs that leave a film, lines, a summary and a picture behind, whatever ends them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from fluxshard.cli.run.files import remove_outputs, write_results
from fluxshard.cli.run.output_directory import FRAMES, VIDEO
from fluxshard.cli.run.summary_table import summary_table
from fluxshard.cli.support.progress import FrameProgress
from fluxshard.cli.support.stopping import Stopping
from fluxshard.errors import FluxShardError
from fluxshard.models.loading.loaded_model import Task
from fluxshard.pipeline.dense_baseline import DenseBaseline
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.overlap.run_overlapped import Overlap, run_overlapped
from fluxshard.pipeline.run_video import VideoLoop, run_video
from fluxshard.pipeline.sinks.json_lines import JsonLines
from fluxshard.pipeline.sinks.sink import FrameSink
from fluxshard.video import LiveSource, VideoSource
from fluxshard.video.live.background import NewestFrames
from fluxshard.video.live.paced import PacedFrames

Finish = Callable[[Callable[[], dict[str, Any]]], dict[str, Any]]
DEFAULT_FPS = 25.0  # of the film, where the source does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """What a run writes frame by frame.

    Attributes:
      out: the directory.
      names: of classes.
      task: what the outputs mean.
      show_work: tint what was recomputed.
      film: write a film.
    """

    out: Path
    names: tuple[str, ...]
    show_work: bool
    film: bool = True
    task: Task = "detect"


@dataclass(slots=True, kw_only=True)
class Recording:
    """What is known of a run while it goes on, and after its end whatever ended it.

    Attributes:
      records: of the frames that are in all files.
      stopping: who wants an end.
      wall_s: from the first frame that was asked for until the files were closed, in seconds.
    """

    records: list[FrameRecord] = field(default_factory=list)
    stopping: Stopping = field(default_factory=Stopping)
    wall_s: float = 0.0

    @property
    def stopped(self) -> bool:
        """Whether somebody wants an end."""
        return self.stopping.signal is not None


def write_frames(
    files: RunFiles,
    frames: VideoSource | LiveSource | PacedFrames | NewestFrames,
    loop: VideoLoop,
    recording: Recording,
    screen: Console,
    *,
    confidence: float,
    dense: DenseBaseline | None = None,
    overlap: Overlap | None = None,
) -> None:
    """Runs all frames of a video, or those until somebody wants an end.

    Args:
      files: to write.
      frames: a video, open.
      loop: over the video's stream.
      recording: filled frame by frame, so that it is there whatever ends the run.
      screen: for progress.
      confidence: of detections that are shown.
      dense: the original network, to compare with.
      overlap: reads, draws and writes other frames while one runs; None takes turns, so that nothing disturbs what is
        compared. Not with `dense`.

    Raises:
      FluxShardError, OSError: the video, the session or a file failed.
    """
    start = time.perf_counter()
    try:
        with (
            recording.stopping,
            FrameProgress(screen, frames.frame_count) as progress,
            contextlib.ExitStack() as opened,
        ):
            sinks = [opened.enter_context(sink) for sink in _sinks(files, frames)]
            if overlap is None:
                done = _until_stopped(run_video(frames, loop, sinks, confidence=confidence, dense=dense), recording)
            else:
                done = run_overlapped(
                    frames, loop, sinks, confidence=confidence, overlap=overlap, stop=lambda: recording.stopped,
                    interrupt=frames.interrupt if isinstance(frames, LiveSource) else lambda: None,
                )  # fmt: skip
            with contextlib.closing(done):  # its threads end before the files are closed
                for record in done:
                    recording.records.append(record)
                    progress.show(record)
    finally:
        recording.wall_s = time.perf_counter() - start


def _sinks(files: RunFiles, frames: VideoSource | LiveSource | PacedFrames | NewestFrames) -> Iterator[FrameSink]:
    """Opens the files; the film comes first, so that it has all frames that the lines speak of."""
    if files.film:
        from fluxshard.pipeline.sinks.annotated_film import AnnotatedFilm  # what draws is imported for films alone

        fps = frames.fps or DEFAULT_FPS
        yield AnnotatedFilm(
            files.out / VIDEO, frames.picture_size, fps,
            pixel_aspect=frames.pixel_aspect, names=files.names, task=files.task, show_work=files.show_work,
        )  # fmt: skip
    yield JsonLines(files.out / FRAMES, files.names)


def _until_stopped(records: Iterator[FrameRecord], recording: Recording) -> Generator[FrameRecord, None, None]:
    for record in records:
        yield record
        if recording.stopped:
            return


def _here(write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return write()


def record_run(
    run: Callable[[Recording], None],
    out: Path,
    facts: dict[str, Any],
    notes: Console,
    screen: Console,
    *,
    stopping: Stopping | None = None,
    finish: Finish | None = None,
) -> int:
    """Runs, and writes and prints what came out.

    Args:
      run: fills the recording that it is given, until its end or until somebody wants one.
      out: directory of the files.
      facts: of the summary, besides the figures; `run` may add some.
      notes: for the table of figures.
      screen: for people who wait.
      stopping: who wants an end; None: signals of this process.
      finish: does what writes the results, and gives what that returns; None does it here.

    Returns:
      the exit status: 0, or 128 plus the signal that ended the run early.

    Raises:
      FluxShardError, OSError: what cannot go on; results so far are kept and summarised.
    """
    recording = Recording(stopping=Stopping() if stopping is None else stopping)
    finish = _here if finish is None else finish
    records, stopping = recording.records, recording.stopping
    try:
        run(recording)
    except KeyboardInterrupt:  # asked twice
        stopping.signal = stopping.signal or signal.SIGINT
    except (FluxShardError, OSError):
        with contextlib.suppress(OSError):  # the same full disk may refuse the summary too
            if records:
                broken = facts | {"complete": False, "wall_s": recording.wall_s}
                finish(lambda: write_results(records, broken, out))
            else:
                remove_outputs(out)
        raise
    facts = facts | {"complete": not recording.stopped, "wall_s": recording.wall_s}
    summary = finish(lambda: write_results(records, facts, out))
    notes.print(summary_table(summary))
    if stopping.signal is not None:
        screen.print(f"fluxshard: stopped after {len(records)} frames; {out} holds what ran", soft_wrap=True)
    return stopping.exit_code
