"""The progress bar of a run."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from fluxshard.cli.records import FrameRecord


class FrameProgress:
    """Frames done, frames per second, latency and the running compute ratio, on a terminal; silent elsewhere."""

    def __init__(self, console: Console, total: int | None) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("frames", total=total, figures="")
        self._ratios: list[float] = []
        self._times_ms: list[float] = []

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, record: FrameRecord) -> None:
        """Counts one frame."""
        ratio = record.ratio("compute_ratio")
        if ratio == ratio:
            self._ratios.append(ratio)
        self._times_ms.append(record.incremental_ms)
        recent_ms = self._times_ms[-30:]
        figures = f"{1e3 * len(recent_ms) / max(sum(recent_ms), 1e-6):.1f} fps"
        later = self._ratios[1:] or self._ratios  # the first frame is always computed whole
        if later:
            figures += f", compute {sum(later) / len(later):.0%}"
        self._bar.update(self._task, advance=1, figures=figures)


class StepProgress:
    """Frames done and the last thing that was measured, on a terminal; elsewhere, one line per thing measured."""

    def __init__(self, console: Console, total: int | None = None) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed} frames"),
            TextColumn("{task.fields[step]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("frames", total=total, step="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def frames(self, count: int) -> None:
        """Counts frames."""
        self._bar.update(self._task, advance=count)

    def step(self, line: str) -> None:
        """Shows what was measured last."""
        self._bar.update(self._task, step=line)
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
