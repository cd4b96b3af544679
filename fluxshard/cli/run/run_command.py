"""`fluxshard run`: wires model, video, session, sinks and files together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

import fluxshard
from fluxshard.cli.run.output_directory import files_of, prepare_directory
from fluxshard.cli.run.recording import Finish, Recording, RunFiles, record_run, write_frames
from fluxshard.cli.run.sources import Probed, SourceFlags, SourceNotes, frames_of, overlap_of, probe
from fluxshard.cli.support.apart import check_apart
from fluxshard.cli.support.checks import check_share
from fluxshard.cli.support.messages import EMULATED_NOTE, device_errors, warnings_as_notes
from fluxshard.cli.support.network_flags import NetworkFlags, PreparedModel, prepare
from fluxshard.cli.support.progress import TuningProgress
from fluxshard.cli.support.reuse_flags import ReuseFlags, RunReuse, describe, settle, with_saved_profile
from fluxshard.cli.support.stopping import Stopping
from fluxshard.errors import OptionError
from fluxshard.models.loading.load import load
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.names import with_names
from fluxshard.models.loading.sizes import network_shape
from fluxshard.models.tasks.heads import head_for
from fluxshard.options import AnyDType, Backend
from fluxshard.pipeline.calibrating.online_calibration import OnlineCalibration
from fluxshard.pipeline.calibrating.options import CalibrationOptions
from fluxshard.pipeline.carrying.carrier import ResultCarrier
from fluxshard.pipeline.carrying.options import SkipOptions
from fluxshard.pipeline.dense_baseline import DenseBaseline, dense_network
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.device import RunDevice, full_float32, machine_facts
from fluxshard.pipeline.saliency.output_saliency import TAU_BACKGROUND, OutputSaliency
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.pipeline.tracking.byte_tracker import TRACKED_CONFIDENCE, ByteTracker
from fluxshard.video import LiveOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The options of `fluxshard run`, as given; see its help."""

    video: str
    model: Path
    out: Path
    task: str = "auto"
    names: Path | None = None
    size: str | None = None
    dense: bool = False
    max_frames: int | None = None
    track: bool = False
    show_reuse: bool = False
    film: bool = True
    device: str = "cpu"
    dtype: AnyDType = "float32"
    backend: Backend = "auto"
    autotune: bool = False
    confidence: float = 0.25
    iou: float = 0.7
    overwrite: bool = False
    reuse: ReuseFlags = field(default_factory=ReuseFlags)
    alpha: float | None = None
    skip_budget: float = 0.0
    max_skip: int = 3
    skip_damaged: bool = False
    live: LiveOptions = field(default_factory=LiveOptions)

    @property
    def source(self) -> SourceFlags:
        """The flags about what is read."""
        return SourceFlags(video=self.video, max_frames=self.max_frames, skip_damaged=self.skip_damaged, live=self.live)

    @property
    def skip(self) -> SkipOptions:
        """The flags about frames that are not computed."""
        return SkipOptions(budget=self.skip_budget, most=self.max_skip)

    @property
    def calibration(self) -> CalibrationOptions | None:
        """Online calibration; None without it."""
        return None if self.alpha is None else CalibrationOptions(alpha=self.alpha)

    @property
    def network(self) -> NetworkFlags:
        """The flags about the network."""
        return NetworkFlags(
            model=self.model,
            task=self.task,
            size=self.size,
            device=self.device,
            dtype=self.dtype,
            backend=self.backend,
            autotune=self.autotune,
        )


def run_command(request: RunRequest) -> int:
    """Runs a model over a video and writes what came out.

    Returns:
      the exit status: 0, or 128 plus the signal that ended the run early.

    Raises:
      FluxShardError, OSError: what cannot go on; results so far are kept and summarised.
    """
    reuse = check(request)
    with probe(request.source) as probed:
        check_apart(files_of(request.out), (request.video, request.model, request.reuse.profile))
        prepare_directory(request.out, request.overwrite)
        notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
        with warnings_as_notes(notes), device_errors():
            loaded = with_names(load(request.model, request.task), request.names)
            reuse = for_network(with_saved_profile(request.reuse, reuse, loaded), loaded)
            model = compiled_for(request, reuse, loaded, network_shape(request.size, probed.shown_size, loaded), screen)
            dense = _dense_baseline(request, model) if request.dense else None
            note_network(request, reuse, model, notes)
            return run_source(
                request, reuse, model, probed, SourceNotes(notes), dense=dense, notes=notes, screen=screen
            )


def compiled_for(
    request: RunRequest, reuse: RunReuse, loaded: LoadedModel, shape: tuple[int, int], screen: Console
) -> PreparedModel:
    """Compiles the network for images of a size, and checks that the pipeline can do with it what is wanted.

    Raises:
      FluxShardError: it cannot.
    """
    with screen.status(f"compiling {request.model.name} for {shape[0]}x{shape[1]} ...") as status:
        model = prepare(request.network, reuse, loaded, shape, TuningProgress(status))
        _check_pipeline(request, reuse, model)
        full_float32(model.compiled.device)
    return model


def note_network(request: RunRequest, reuse: RunReuse, model: PreparedModel, notes: Console) -> None:
    """Says what is reused."""
    if model.compiled.backend == "emulated":
        notes.print(EMULATED_NOTE, style="yellow", soft_wrap=True)
    note = describe(
        request.reuse, reuse.options, model.canvas_px, model.compiled.dtype,
        finds_objects=model.loaded.layout is not None,
        is_saved=reuse.threshold_profile is not None and request.reuse.profile is None,
    )  # fmt: skip
    notes.print(note, style="dim", markup=False, soft_wrap=True)


def run_source(
    request: RunRequest,
    reuse: RunReuse,
    model: PreparedModel,
    probed: Probed,
    told: SourceNotes,
    *,
    notes: Console,
    screen: Console,
    dense: DenseBaseline | None = None,
    stopping: Stopping | None = None,
    finish: Finish | None = None,
) -> int:
    """Runs a compiled model over a source, in a directory that is prepared.

    Args:
      request: what is wanted.
      reuse: what to reuse.
      model: compiled for the source's images.
      probed: the source.
      told: what becomes of it.
      notes: for the table of figures.
      screen: for people who wait.
      dense: the original network, to compare with.
      stopping, finish: as for `record_run`.

    Returns:
      the exit status, as `run_command`.

    Raises:
      FluxShardError, OSError: as `run_command`.
    """
    facts = _facts(request, reuse, model)

    def run(recording: Recording) -> None:
        files = RunFiles(
            out=request.out, names=model.loaded.names, show_work=request.show_reuse, film=request.film,
            task=model.loaded.task,
        )  # fmt: skip
        with device_errors(), model.compiled.session(reuse.options) as session:
            with frames_of(
                request.source, probed, size=model.shape, stopped=lambda: recording.stopped, notes=told, facts=facts
            ) as frames:
                loop = _loop(request, reuse, model, session, frames.fps)
                # in turns where two networks are compared: what runs beside them would be timed, too
                overlap = None if dense is not None else overlap_of(frames)
                write_frames(
                    files, frames, loop, recording, screen, confidence=request.confidence, dense=dense, overlap=overlap
                )
            facts["state_bytes"] = session.state_bytes

    return record_run(run, request.out, facts, notes, screen, stopping=stopping, finish=finish)


def check(request: RunRequest) -> RunReuse:
    """Checks flags before anything slow is imported or opened; returns what to reuse."""
    check_share("conf", request.confidence)
    check_share("iou", request.iou)
    _ = request.skip, request.calibration  # their values are checked as they are made
    request.network.check()
    reuse = settle(request.reuse)
    if request.track:
        ByteTracker(request.confidence)  # says what is missing before anything is compiled
    request.network.check_task()
    return reuse


def _check_pipeline(request: RunRequest, reuse: RunReuse, model: PreparedModel) -> None:
    """Refuses what the pipeline cannot do for this network and policy."""
    if request.track and model.loaded.layout is None:
        raise OptionError("--track needs a network whose detections are known: leave it out")
    flags = {"--skip-budget": request.skip_budget > 0, "--alpha": request.alpha is not None}
    given = next((flag for flag, is_given in flags.items() if is_given), None)
    if given is None:
        return
    for wrong, why in (
        (reuse.options.policy != "planned", "is for --policy planned"),
        (model.canvas_px > 0, "does not go with a canvas"),
        (model.loaded.layout is None, "needs a network whose detections are known"),
    ):
        if wrong:
            raise OptionError(f"{given} {why}: leave it out")


def for_network(reuse: RunReuse, loaded: LoadedModel) -> RunReuse:
    """Without a known head, regions are where the outputs change: the background's threshold is one that suits that."""
    options = reuse.options
    if loaded.layout is not None or options.policy != "planned" or reuse.threshold_profile is not None:
        return reuse
    return replace(reuse, options=replace(options, planned=replace(options.planned, tau_background=TAU_BACKGROUND)))


def _dense_baseline(request: RunRequest, model: PreparedModel) -> DenseBaseline:
    loaded, device = model.loaded, model.compiled.device
    try:
        run = dense_network(loaded.net, model.shape, device=str(device), dtype=model.compiled.dtype)
    except OptionError as error:
        raise OptionError(f"--compare dense: {error}; use --dtype float32 or --compare none") from error
    head = None
    if loaded.layout is not None:
        head = DetectionHead(loaded.layout, model.shape, confidence=request.confidence, iou=request.iou)
    read = head_for(loaded.task, model.shape) if head is None else None
    return DenseBaseline(run=run, detect=head, read=read, pairs=not model.canvas_px)


def _loop(
    request: RunRequest, reuse: RunReuse, model: PreparedModel, session: fluxshard.Session, fps: float | None = None
) -> StreamLoop:
    objects = reuse.options.planned if reuse.options.policy == "planned" else None
    head = None
    if model.loaded.layout is not None:
        # fainter detections than those that are shown are regions, and keep tracks alive, too
        lowest = request.confidence if objects is None else min(request.confidence, objects.region_confidence)
        lowest = min(lowest, TRACKED_CONFIDENCE) if request.track else lowest
        head = DetectionHead(model.loaded.layout, model.canvas_shape, confidence=lowest, iou=request.iou, owns=True)
    saliency = None
    if head is None and objects is not None and objects.tau_background is not None:
        saliency = OutputSaliency(model.canvas_shape)
    read = None if head is not None else head_for(model.loaded.task, model.canvas_shape)
    carrier = None
    if request.skip_budget:
        carrier = ResultCarrier(request.skip, session.glance, request.confidence)
    calibration = None
    if request.calibration is not None:
        calibration = OnlineCalibration(request.calibration, session, request.confidence)
    return StreamLoop(
        session=session, detect=head, objects=objects, device=RunDevice(model.compiled.device), carrier=carrier,
        calibration=calibration, saliency=saliency, read=read, whole=session.run_whole,
        track=ByteTracker(request.confidence, fps) if request.track else None,
    )  # fmt: skip


def _facts(request: RunRequest, reuse: RunReuse, model: PreparedModel) -> dict[str, Any]:
    """Facts in summary.json besides the figures."""
    options, compiled = asdict(reuse.options), model.compiled
    return {
        "version": fluxshard.__version__,
        "model": str(request.model),
        "video": request.video,
        "out": str(request.out),
        "task": model.loaded.task,
        "network_size": list(model.shape),
        "backend": compiled.backend,
        "device": str(compiled.device),
        "dtype": compiled.dtype,
        "plan": compiled.plan.digest(),
        "policy": reuse.options.policy,
        "profile": None if request.reuse.profile is None else str(request.reuse.profile),
        "canvas_px": model.canvas_px,
        "reuse": {name: value for name, value in options.items() if value is not None},
        "skip": asdict(request.skip),
        "alpha": request.alpha,
        "track": request.track,
        "confidence": request.confidence,
        "iou": request.iou,
        "machine": machine_facts(RunDevice(compiled.device)),
        "state_bytes": None,
    }
