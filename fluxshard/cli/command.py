"""What the commands do: they wire model, video, session and files together."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import fluxshard
from fluxshard import video
from fluxshard.backends import check_target
from fluxshard.cli.dense import dense_runner
from fluxshard.cli.device import RunDevice, device_errors, full_float32
from fluxshard.cli.files import remove_outputs, write_results
from fluxshard.cli.progress import FrameProgress
from fluxshard.cli.records import FrameRecord, RecordFile
from fluxshard.cli.reuse import Reuse, ReuseFlags, describe, settle
from fluxshard.cli.run import Net, run_frames
from fluxshard.cli.settings import (
    FRAMES,
    VIDEO,
    RunSettings,
    check_device,
    check_share,
    prepare_directory,
)
from fluxshard.cli.stopping import Stopping
from fluxshard.cli.summary import summary_table
from fluxshard.codegen.cuda.report import parse_arch
from fluxshard.errors import FluxShardError, OptionError
from fluxshard.models.loading.checkpoint import identify
from fluxshard.models.loading.load import load
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import network_shape, parse_size
from fluxshard.options import Backend, CompileOptions, DType

DEFAULT_FPS = 25.0  # of the film, where the source does not say
EMULATED_NOTE = "note: CUDA kernels run on the processor, in an emulator: this is for checking them, and takes long"


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
    device: str = "cpu"
    dtype: DType = "float32"
    backend: Backend = "auto"
    confidence: float = 0.25
    iou: float = 0.7
    overwrite: bool = False
    reuse: ReuseFlags = field(default_factory=ReuseFlags)

    def options(self, canvas_px: int = 0) -> CompileOptions:
        """How the model is compiled."""
        return CompileOptions(backend=self.backend, dtype=self.dtype, canvas_px=canvas_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest:
    """The options of `fluxshard explain`, as given; see its help. A single size is the side of a square."""

    model: Path
    task: str = "auto"
    size: str | None = None
    backend: Backend = "auto"
    target: str | None = None
    dtype: DType = "float32"


def run_command(request: RunRequest) -> int:
    """Runs a model over a video and writes what came out.

    Returns:
      the exit status: 0, or 128 plus the signal that ended the run early.

    Raises:
      FluxShardError, OSError: what cannot go on; results so far are kept and summarised.
    """
    reuse = _check(request)
    # opened again for the frames: their size depends on the model, and live pictures must not pile up meanwhile
    with video.open(request.video) as probe:
        picture_size = probe.picture_size
    prepare_directory(request.out, request.overwrite)
    notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
    with _notes_of_warnings(notes), device_errors():
        loaded = load(request.model, request.task)
        shape = network_shape(request.size, picture_size, loaded)
        with screen.status(f"compiling {request.model.name} for {shape[0]}x{shape[1]} ..."):
            compiled, canvas_px = _compile(request, reuse, loaded, shape)
            if reuse.profile is not None:
                reuse.profile.check(compiled.plan, compiled.weights)
            device, dense = RunDevice(compiled.device), None
            full_float32(compiled.device)
            if request.dense:
                dense = dense_runner(loaded.net, shape, device=str(compiled.device), dtype=request.dtype)
        settings = _settings(request, reuse, shape, canvas_px)
        if compiled.backend == "emulated":
            notes.print(EMULATED_NOTE, style="yellow", soft_wrap=True)
        note = describe(request.reuse, reuse.options, canvas_px, request.dtype, finds_objects=loaded.layout is not None)
        notes.print(note, style="dim", markup=False, soft_wrap=True)
        facts = _facts(request, reuse, settings, loaded, compiled, device)
        records: list[FrameRecord] = []
        stopping = Stopping()
        try:
            with device_errors(), compiled.session(reuse.options) as session:
                _run(request, settings, loaded, session, dense, device, records, stopping, screen)
                facts["state_bytes"] = session.state_bytes
        except KeyboardInterrupt:  # asked twice
            stopping.signal = stopping.signal or signal.SIGINT
        except (FluxShardError, OSError):
            with contextlib.suppress(OSError):  # the same full disk may refuse the summary too
                if records:
                    write_results(records, facts | {"complete": False}, request.out)
                else:
                    remove_outputs(request.out)
            raise
        summary = write_results(records, facts | {"complete": stopping.signal is None}, request.out)
    notes.print(summary_table(summary))
    if stopping.signal is not None:
        screen.print(f"fluxshard: stopped after {len(records)} frames; {request.out} holds what ran", soft_wrap=True)
    return stopping.exit_code


def explain_command(request: ExplainRequest) -> str:
    """What every layer of a model becomes, or what its kernels need, as text.

    Raises:
      FluxShardError: what cannot go on.
    """
    if request.size is not None:
        parse_size(request.size)
    if request.target is not None:
        parse_arch(request.target)
    elif request.dtype != "float32":
        raise OptionError(f"--dtype {request.dtype} is for --target: give an architecture such as cuda:sm_90")
    screen = Console(stderr=True, highlight=False)
    with _notes_of_warnings(screen):
        loaded = load(request.model, request.task)
        shape = network_shape(request.size, (1, 1), loaded)
        # kernels for another machine need none for this one
        backend: Backend = request.backend if request.target is None else "reference"
        model = fluxshard.compile(loaded.net, torch.zeros(1, 3, *shape), options=CompileOptions(backend=backend))
        if request.target is None:
            return str(model.explain())
        with screen.status(f"compiling the kernels of {request.model.name} for {request.target} ..."):
            return str(model.explain(target=request.target, dtype=request.dtype))


def _compile(
    request: RunRequest, reuse: Reuse, loaded: LoadedModel, shape: tuple[int, int]
) -> tuple[fluxshard.CompiledModel, int]:
    """The compiled model, and how much larger than the image its canvas is."""
    canvas_px = reuse.canvas_px(loaded)
    options = request.options(canvas_px)
    return fluxshard.compile(loaded.net, torch.zeros(1, 3, *shape), options=options, target=request.device), canvas_px


def _settings(request: RunRequest, reuse: Reuse, shape: tuple[int, int], canvas_px: int) -> RunSettings:
    planned = reuse.options.policy == "planned"
    return RunSettings(
        video=request.video,
        model=request.model,
        out=request.out,
        shape=shape,
        confidence=request.confidence,
        iou=request.iou,
        show_reuse=request.show_reuse,
        canvas_px=canvas_px,
        planned=reuse.options.planned if planned else None,
    )


def _run(
    request: RunRequest,
    settings: RunSettings,
    loaded: LoadedModel,
    session: fluxshard.Session,
    dense: Net | None,
    device: RunDevice,
    records: list[FrameRecord],
    stopping: Stopping,
    screen: Console,
) -> None:
    """Fills `records` frame by frame, so that they are there whatever ends the run."""
    with (
        stopping,
        video.open(request.video, size=settings.shape, max_frames=request.max_frames) as frames,
        RecordFile(request.out / FRAMES) as lines,
        video.VideoWriter(request.out / VIDEO, frames.picture_size, frames.fps or DEFAULT_FPS) as film,
        FrameProgress(screen, frames.frame_count) as progress,
    ):
        for record in run_frames(
            frames,
            session,
            loaded,
            settings,
            records=lines,
            write_picture=film.write,
            dense=dense,
            device=device,
        ):
            records.append(record)
            progress.show(record)
            if stopping.signal is not None:
                return


def _check(request: RunRequest) -> Reuse:
    """What can be said before anything slow is imported or opened; what to reuse."""
    check_share("conf", request.confidence)
    check_share("iou", request.iou)
    check_device(request.device, request.dtype, request.backend)
    check_target(request.device, request.options())
    if request.size is not None:
        parse_size(request.size)
    reuse = settle(request.reuse)
    kind = identify(request.model)
    if kind != "ultralytics" and request.task not in ("auto", "raw"):
        raise OptionError(
            f"--task {request.task} needs an Ultralytics checkpoint; use auto or raw for {str(request.model)!r}"
        )
    return reuse


def _facts(
    request: RunRequest,
    reuse: Reuse,
    settings: RunSettings,
    loaded: LoadedModel,
    compiled: fluxshard.CompiledModel,
    device: RunDevice,
) -> dict[str, Any]:
    """What summary.json says besides the figures."""
    options = asdict(reuse.options)
    return {
        "version": fluxshard.__version__,
        "model": str(settings.model),
        "video": settings.video,
        "out": str(settings.out),
        "task": loaded.task,
        "network_size": list(settings.shape),
        "backend": compiled.backend,
        "device": str(compiled.device),
        "dtype": request.dtype,
        "plan": compiled.plan.digest(),
        "policy": reuse.options.policy,
        "profile": None if request.reuse.profile is None else str(request.reuse.profile),
        "canvas_px": settings.canvas_px,
        "reuse": {name: value for name, value in options.items() if value is not None},
        "confidence": settings.confidence,
        "iou": settings.iou,
        "machine": {
            "cpu": _cpu(),
            "gpu": device.describe(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        },
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
            console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = note
        try:
            yield
        finally:
            warnings.showwarning = show
