"""What the commands do: they wire model, video, session and files together."""

from __future__ import annotations

import contextlib
import platform
import signal
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

import fluxshard
from fluxshard.cli.dense import dense_runner
from fluxshard.cli.files import remove_if_nothing_ran, write_results
from fluxshard.cli.progress import FrameProgress
from fluxshard.cli.records import FrameRecord, RecordFile
from fluxshard.cli.run import run_frames
from fluxshard.cli.settings import FRAMES, VIDEO, RunSettings, check_share, network_shape, parse_size, prepare_directory
from fluxshard.cli.source import VideoInfo, open_frames, open_writer, place, probe
from fluxshard.cli.stopping import Stopping
from fluxshard.cli.summary import summary_table
from fluxshard.errors import FluxShardError
from fluxshard.models.checkpoint import identify
from fluxshard.models.loaded import LoadedModel
from fluxshard.models.loading import load
from fluxshard.options import CompileOptions, ReuseOptions

Backend = Literal["auto", "cpp", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The options of `fluxshard run`, as given; see its help."""

    video: str
    model: Path
    out: Path
    task: str = "auto"
    size: str | None = None
    dense: bool = False
    max_frames: int | None = None
    show_reuse: bool = False
    backend: Backend = "auto"
    confidence: float = 0.25
    iou: float = 0.7
    overwrite: bool = False
    reuse: ReuseOptions = field(default_factory=ReuseOptions)


def run_command(request: RunRequest) -> int:
    """Runs a model over a video and writes what came out.

    Returns:
      the exit status: 0, or 128 plus the signal that ended the run early.

    Raises:
      FluxShardError, OSError: what cannot go on; results so far are kept and summarised.
    """
    _check(request)
    info = probe(request.video)
    prepare_directory(request.out, request.overwrite)
    notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
    with _notes_of_warnings(notes):
        loaded = load(request.model, request.task)
        settings = RunSettings(
            video=request.video,
            model=request.model,
            out=request.out,
            shape=network_shape(request.size, info.shape, loaded),
            confidence=request.confidence,
            iou=request.iou,
            max_frames=request.max_frames,
            dense=request.dense,
            show_reuse=request.show_reuse,
        )
        with screen.status(f"compiling {request.model.name} for {settings.shape[0]}x{settings.shape[1]} ..."):
            compiled = _compile(loaded, settings.shape, request.backend)
            dense = dense_runner(loaded.net) if request.dense else None
        notes.print(_thresholds_note(request.reuse), style="dim")
        return _run(request, settings, info, loaded, compiled, dense, notes, screen)


def explain_command(model: Path, task: str, size: str | None, backend: Backend) -> str:
    """What every layer of a model becomes, as text. A single size is the side of a square."""
    if size is not None:
        parse_size(size)
    with _notes_of_warnings(Console(stderr=True, highlight=False)):
        loaded = load(model, task)
        shape = network_shape(size, (1, 1), loaded)
        return str(_compile(loaded, shape, backend).explain())


def _run(
    request: RunRequest,
    settings: RunSettings,
    info: VideoInfo,
    loaded: LoadedModel,
    compiled: fluxshard.CompiledModel,
    dense: Any,
    notes: Console,
    screen: Console,
) -> int:
    out = settings.out
    total = info.frames if settings.max_frames is None else min(settings.max_frames, info.frames or settings.max_frames)
    records: list[FrameRecord] = []
    stopping = Stopping()
    facts = _facts(request, settings, loaded, compiled)
    try:
        with (
            stopping,
            compiled.session(request.reuse) as session,
            open_frames(settings.video, settings.shape) as frames,
            RecordFile(out / FRAMES) as lines,
            open_writer(out / VIDEO, info) as write_picture,
            FrameProgress(screen, total) as progress,
        ):
            running = run_frames(
                frames, session, loaded, settings, records=lines, write_picture=write_picture, place=place, dense=dense
            )
            for record in running:
                records.append(record)
                facts["state_bytes"] = session.state_bytes
                progress.show(record)
                if stopping.signal is not None:
                    break
    except KeyboardInterrupt:  # asked twice
        stopping.signal = stopping.signal or signal.SIGINT
    except (FluxShardError, OSError):
        with contextlib.suppress(OSError):  # the same full disk may refuse the summary too
            remove_if_nothing_ran(records, out / FRAMES, out / VIDEO)
            if records:
                write_results(records, facts | {"complete": False}, out)
        raise
    summary = write_results(records, facts | {"complete": stopping.signal is None}, out)
    notes.print(summary_table(summary))
    if stopping.signal is not None:
        screen.print(f"fluxshard: stopped after {len(records)} frames; {out} holds what ran")
    return stopping.exit_code


def _check(request: RunRequest) -> None:
    """What can be said before anything slow is imported or opened."""
    check_share("conf", request.confidence)
    check_share("iou", request.iou)
    if request.size is not None:
        parse_size(request.size)
    identify(request.model)


def _compile(loaded: LoadedModel, shape: tuple[int, int], backend: Backend) -> fluxshard.CompiledModel:
    return fluxshard.compile(loaded.net, torch.zeros(1, 3, *shape), options=CompileOptions(backend=backend))


def _thresholds_note(reuse: ReuseOptions) -> str:
    tau = reuse.tau if isinstance(reuse.tau, float) else "per layer"
    if reuse.tau_input == 0 and reuse.tau == 0 and reuse.rfap == "per_layer" and reuse.input == "fresh":
        return "exact: equals the dense network up to rounding"
    return (
        f"approximate: pixels within {reuse.tau_input:g} and features within {tau} count as unchanged "
        "(--compare dense measures what that costs)"
    )


def _facts(
    request: RunRequest, settings: RunSettings, loaded: LoadedModel, compiled: fluxshard.CompiledModel
) -> dict[str, Any]:
    """What summary.json says besides the figures."""
    reuse = asdict(request.reuse)
    return {
        "version": fluxshard.__version__,
        "model": str(settings.model),
        "video": settings.video,
        "out": str(settings.out),
        "task": loaded.task,
        "network_size": list(settings.shape),
        "backend": compiled.backend,
        "plan": compiled.plan.digest(),
        "reuse": {name: value for name, value in reuse.items() if value is not None},
        "confidence": settings.confidence,
        "iou": settings.iou,
        "machine": {"cpu": _cpu(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "state_bytes": None,
    }


def _cpu() -> str:
    """The processor's name, where the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def _notes_of_warnings(console: Console) -> Iterator[None]:
    """Shows this package's warnings as one-line notes, each text once; hides those of other packages."""
    seen: set[str] = set()
    own = Path(fluxshard.__file__).parent
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], filename: str, *rest: object, **named: object) -> None:
        text = " ".join(str(message).split())
        if text not in seen and own in Path(filename).parents:
            seen.add(text)
            console.print(f"note: {text}", style="yellow", markup=False)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = note
        try:
            yield
        finally:
            warnings.showwarning = show
