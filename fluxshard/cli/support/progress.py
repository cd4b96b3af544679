"""Progress bars."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.status import Status

from fluxshard.pipeline.frame_record import FrameRecord


class _Bar:
    """A bar on a terminal while the context is open; silent elsewhere."""

    def __init__(self, console: Console, *columns: ProgressColumn, total: int | None = None) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(), *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._bar.add_task("frames", total=total, line="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class FrameProgress(_Bar):
    """Frames done, frames per second, latency and the running compute ratio, on a terminal; silent elsewhere."""

    def __init__(self, console: Console, total: int | None) -> None:
        super().__init__(
            console,
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            total=total,
        )
        self._ratios: list[float] = []
        self._done_s: deque[float] = deque([time.perf_counter()], maxlen=31)

    def show(self, record: FrameRecord) -> None:
        """Counts one frame."""
        ratio = record.ratio("compute_ratio")
        if ratio == ratio:
            self._ratios.append(ratio)
        self._done_s.append(time.perf_counter())
        recent_s = self._done_s[-1] - self._done_s[0]
        figures = f"{(len(self._done_s) - 1) / max(recent_s, 1e-6):.1f} fps, {record.incremental_ms:.1f} ms"
        later = self._ratios[1:] or self._ratios  # the first frame is always computed whole
        if later:
            figures += f", compute {sum(later) / len(later):.0%}"
        self._bar.update(self._task, advance=1, line=figures)


class TuningProgress:
    """Says on a terminal how many layers are measured, in the status that is shown there already.

    Args:
      status: of the compilation.
    """

    def __init__(self, status: Status) -> None:
        self._status = status
        self._before = status.status

    def __call__(self, done: int, total: int) -> None:
        """Told after each layer: how many are measured, and how many there are."""
        self._status.update(f"{self._before} measuring tiles: {done} of {total}" if done < total else self._before)


class StepProgress(_Bar):
    """Frames done and the last thing that was measured, on a terminal; elsewhere, one line per thing measured.

    Args:
      console: where it is shown.
      total: frames that there will be; None where that is not known.
    """

    def __init__(self, console: Console, total: int | None = None) -> None:
        done = (TextColumn("{task.completed} frames"),)
        counted = (BarColumn(bar_width=30), MofNCompleteColumn())
        columns: tuple[ProgressColumn, ...] = done if total is None else counted
        super().__init__(console, *columns, TextColumn("{task.fields[line]}"), total=total)

    def frames(self, count: int) -> None:
        """Counts frames."""
        self._bar.update(self._task, advance=count)

    def step(self, line: str) -> None:
        """Shows what was measured last."""
        self._bar.update(self._task, line=line)
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
