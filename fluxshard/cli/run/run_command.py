"""`fluxshard run`: wires model, video, session, sinks and files together."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import fluxshard
from fluxshard import video
from fluxshard.cli.run.output_directory import prepare_directory
from fluxshard.cli.run.recording import Recording, RunFiles, record_run, write_frames
from fluxshard.cli.support.checks import check_share
from fluxshard.cli.support.messages import EMULATED_NOTE, device_errors, warnings_as_notes
from fluxshard.cli.support.network_flags import NetworkFlags, PreparedModel, prepare
from fluxshard.cli.support.progress import TuningProgress
from fluxshard.cli.support.reuse_flags import ReuseFlags, RunReuse, describe, settle, with_saved_profile
from fluxshard.errors import OptionError
from fluxshard.models.loading.load import load
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import network_shape
from fluxshard.options import AnyDType, Backend
from fluxshard.pipeline.calibrating.online_calibration import OnlineCalibration
from fluxshard.pipeline.calibrating.options import CalibrationOptions
from fluxshard.pipeline.carrying.carrier import ResultCarrier
from fluxshard.pipeline.carrying.options import SkipOptions
from fluxshard.pipeline.dense_baseline import DenseBaseline, dense_network
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.device import RunDevice, cpu_name, full_float32
from fluxshard.pipeline.overlap.run_overlapped import LIVE, Overlap
from fluxshard.pipeline.saliency.output_saliency import TAU_BACKGROUND, OutputSaliency
from fluxshard.pipeline.stream_loop import StreamLoop


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
    reuse = _check(request)
    # opened again for the frames: their size depends on the model, and live pictures must not pile up meanwhile
    with video.open(request.video) as probe:
        picture_size = probe.picture_size
    prepare_directory(request.out, request.overwrite)
    notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
    with warnings_as_notes(notes), device_errors():
        loaded = load(request.model, request.task)
        reuse = _for_network(with_saved_profile(request.reuse, reuse, loaded), loaded)
        shape = network_shape(request.size, picture_size, loaded)
        with screen.status(f"compiling {request.model.name} for {shape[0]}x{shape[1]} ...") as status:
            model = prepare(request.network, reuse, loaded, shape, TuningProgress(status))
            _check_pipeline(request, reuse, model)
            full_float32(model.compiled.device)
            dense = _dense_baseline(request, model) if request.dense else None
        if model.compiled.backend == "emulated":
            notes.print(EMULATED_NOTE, style="yellow", soft_wrap=True)
        note = describe(
            request.reuse, reuse.options, model.canvas_px, model.compiled.dtype,
            finds_objects=loaded.layout is not None,
            is_saved=reuse.threshold_profile is not None and request.reuse.profile is None,
        )  # fmt: skip
        notes.print(note, style="dim", markup=False, soft_wrap=True)
        facts = _facts(request, reuse, model)

        def run(recording: Recording) -> None:
            with device_errors(), model.compiled.session(reuse.options) as session:
                loop = _loop(request, reuse, model, session)
                with video.open(request.video, size=model.shape, max_frames=request.max_frames) as frames:
                    files = RunFiles(
                        out=request.out, names=loaded.names, show_work=request.show_reuse, film=request.film
                    )
                    # in turns where two networks are compared: what runs beside them would be timed, too
                    overlap = None if dense is not None else LIVE if frames.is_live else Overlap()
                    write_frames(
                        files, frames, loop, recording, screen, confidence=request.confidence, dense=dense,
                        overlap=overlap,
                    )  # fmt: skip
                facts["state_bytes"] = session.state_bytes

        return record_run(run, request.out, facts, notes, screen)


def _check(request: RunRequest) -> RunReuse:
    """Checks flags before anything slow is imported or opened; returns what to reuse."""
    check_share("conf", request.confidence)
    check_share("iou", request.iou)
    _ = request.skip, request.calibration  # their values are checked as they are made
    request.network.check()
    reuse = settle(request.reuse)
    request.network.check_task()
    return reuse


def _check_pipeline(request: RunRequest, reuse: RunReuse, model: PreparedModel) -> None:
    """Refuses what the pipeline cannot do for this network and policy."""
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


def _for_network(reuse: RunReuse, loaded: LoadedModel) -> RunReuse:
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
    return DenseBaseline(run=run, detect=head, pairs=not model.canvas_px)


def _loop(request: RunRequest, reuse: RunReuse, model: PreparedModel, session: fluxshard.Session) -> StreamLoop:
    objects = reuse.options.planned if reuse.options.policy == "planned" else None
    head = None
    if model.loaded.layout is not None:
        # fainter detections than those that are shown are regions, too
        lowest = request.confidence if objects is None else min(request.confidence, objects.region_confidence)
        head = DetectionHead(model.loaded.layout, model.canvas_shape, confidence=lowest, iou=request.iou, owns=True)
    saliency = None
    if head is None and objects is not None and objects.tau_background is not None:
        saliency = OutputSaliency(model.canvas_shape)
    carrier = None
    if request.skip_budget:
        carrier = ResultCarrier(request.skip, session.glance, request.confidence)
    calibration = None
    if request.calibration is not None:
        calibration = OnlineCalibration(request.calibration, session, request.confidence)
    return StreamLoop(
        session=session, detect=head, objects=objects, device=RunDevice(model.compiled.device), carrier=carrier,
        calibration=calibration, saliency=saliency,
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
        "confidence": request.confidence,
        "iou": request.iou,
        "machine": {
            "cpu": cpu_name(),
            "gpu": RunDevice(compiled.device).describe(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        },
        "state_bytes": None,
    }
