"""Runs that leave a film, lines, a summary and a picture behind, whatever ends them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fluxshard.cli.run.files import remove_outputs, write_results
from fluxshard.cli.run.output_directory import FRAMES, VIDEO
from fluxshard.cli.run.summary_table import summary_table
from fluxshard.cli.support.progress import FrameProgress
from fluxshard.cli.support.stopping import Stopping
from fluxshard.errors import FluxShardError
from fluxshard.pipeline.dense_baseline import DenseBaseline
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.sinks.annotated_film import AnnotatedFilm
from fluxshard.pipeline.sinks.json_lines import JsonLines
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.video import VideoSource
from fluxshard.video.live import NewestFrames, PacedFrames

DEFAULT_FPS = 25.0  # of the film, where the source does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """What a run writes frame by frame.

    Attributes:
      out: the directory.
      names: of classes.
      show_work: tint what was recomputed.
    """

    out: Path
    names: tuple[str, ...]
    show_work: bool


def write_frames(
    files: RunFiles,
    frames: VideoSource | PacedFrames | NewestFrames,
    loop: StreamLoop,
    records: list[FrameRecord],
    stopping: Stopping,
    screen: Console,
    *,
    confidence: float,
    dense: DenseBaseline | None = None,
) -> None:
    """Runs all frames of a video, or those until somebody wants an end.

    Args:
      files: to write.
      frames: a video, open.
      loop: over the video's stream.
      records: filled frame by frame, so that they are there whatever ends the run.
      stopping: who wants an end.
      screen: for progress.
      confidence: of detections that are shown.
      dense: the original network, to compare with.

    Raises:
      FluxShardError, OSError: the video, the session or a file failed.
    """
    fps = frames.fps or DEFAULT_FPS
    with (
        stopping,
        JsonLines(files.out / FRAMES, files.names) as lines,
        AnnotatedFilm(
            files.out / VIDEO, frames.picture_size, fps, names=files.names, show_work=files.show_work
        ) as film,
        FrameProgress(screen, frames.frame_count) as progress,
    ):
        for record in run_video(frames, loop, (lines, film), confidence=confidence, dense=dense):
            records.append(record)
            progress.show(record)
            if stopping.signal is not None:
                return


def record_run(
    run: Callable[[list[FrameRecord], Stopping], None],
    out: Path,
    facts: dict[str, Any],
    notes: Console,
    screen: Console,
) -> int:
    """Runs, and writes and prints what came out.

    Args:
      run: fills the records that it is given, until its end or until somebody wants one.
      out: directory of the files.
      facts: of the summary, besides the figures; `run` may add some.
      notes: for the table of figures.
      screen: for people who wait.

    Returns:
      the exit status: 0, or 128 plus the signal that ended the run early.

    Raises:
      FluxShardError, OSError: what cannot go on; results so far are kept and summarised.
    """
    records: list[FrameRecord] = []
    stopping = Stopping()
    try:
        run(records, stopping)
    except KeyboardInterrupt:  # asked twice
        stopping.signal = stopping.signal or signal.SIGINT
    except (FluxShardError, OSError):
        with contextlib.suppress(OSError):  # the same full disk may refuse the summary too
            if records:
                write_results(records, facts | {"complete": False}, out)
            else:
                remove_outputs(out)
        raise
    summary = write_results(records, facts | {"complete": stopping.signal is None}, out)
    notes.print(summary_table(summary))
    if stopping.signal is not None:
        screen.print(f"fluxshard: stopped after {len(records)} frames; {out} holds what ran", soft_wrap=True)
    return stopping.exit_code
