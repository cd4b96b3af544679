"""Wires model, clip, meter and files of `fluxshard profile` together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from fluxshard import video
from fluxshard.cli.profile.latency_table import latency_table
from fluxshard.cli.support.apart import check_apart
from fluxshard.cli.support.messages import EMULATED_NOTE, device_errors, warnings_as_notes
from fluxshard.cli.support.network_flags import NetworkFlags, PreparedModel, prepare
from fluxshard.cli.support.progress import StepProgress
from fluxshard.cli.support.reuse_flags import ReuseFlags, RunReuse, settle, thresholds_of, with_saved_profile
from fluxshard.errors import OptionError
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape
from fluxshard.motion import MotionField
from fluxshard.options import AnyDType, Backend, Policy
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.device import RunDevice, full_float32
from fluxshard.pipeline.profiling.measure import MeasuredFrame
from fluxshard.pipeline.profiling.profile_figure import draw_profile
from fluxshard.pipeline.profiling.profile_latency import ProfiledEndpoint, profile_latency
from fluxshard.pipeline.profiling.schedule import ProfilingOptions
from fluxshard.pipeline.profiling.synthetic_clip import synthetic_clip
from fluxshard.runtime.offload.energy import MeterSearch, search_meters

FOLDER = Path("runs/latency")
SYNTHETIC_SIZE = (360, 640)  # of pictures, where no video is given
PICTURE = ".png"
BUSY = 0.1  # share of the processors' time
BUSY_NOTE = (
    "note: other programs took {:.0%} of the processors' time: what they cost is in these figures; profile again when "
    "the machine is idle, or as busy as it will be"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRequest:
    """The options of `fluxshard profile`, as given; see its help."""

    model: Path
    video: str | None = None
    out: Path | None = None
    task: str = "auto"
    size: str | None = None
    policy: Policy | None = None
    thresholds: Path | None = None
    frames: int = 160
    device: str = "cpu"
    dtype: AnyDType = "float32"
    backend: Backend = "auto"
    overwrite: bool = False

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
        )

    @property
    def reuse(self) -> ReuseFlags:
        """The flags about reuse."""
        return ReuseFlags(policy=self.policy, profile=self.thresholds)


def profile_command(request: ProfileRequest) -> Path:
    """Measures a model, writes its latency profile and a picture of it, and prints what came out.

    Returns:
      where the profile is.

    Raises:
      FluxShardError, OSError: what cannot go on; nothing is written then.
    """
    request.network.check()
    reuse = settle(request.reuse)
    request.network.check_task()
    picture_size = SYNTHETIC_SIZE
    if request.video is not None:
        with video.open(request.video) as probe:
            picture_size = probe.shown_size
    out = _prepare_file(request, reuse)
    notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
    with warnings_as_notes(notes), device_errors(), contextlib.ExitStack() as opened:
        loaded = load(request.model, request.task)
        reuse = with_saved_profile(request.reuse, reuse, loaded)
        shape = network_shape(request.size, picture_size, loaded)
        with screen.status(f"compiling {request.model.name} for {shape[0]}x{shape[1]} ..."):
            model = prepare(request.network, reuse, loaded, shape)
        full_float32(model.compiled.device)
        if model.compiled.backend == "emulated":
            notes.print(EMULATED_NOTE, style="yellow", soft_wrap=True)
        search = search_meters(gpu_uuid=RunDevice(model.compiled.device).uuid())
        if search.meter is not None:
            opened.callback(search.meter.close)
        profiled = _measure(request, reuse, model, search, screen)
        profiled.profile.save(out)
        picture = out.with_suffix(PICTURE)
        draw_profile(profiled, picture, f"{request.model.name}, {reuse.options.policy} reuse, {shape[0]}x{shape[1]}")
    load_share = profiled.profile.facts["other_load"]
    if load_share is not None and load_share > BUSY:
        notes.print(BUSY_NOTE.format(load_share), style="yellow", soft_wrap=True)
    notes.print(latency_table(profiled.profile, search.reasons, files=f"{out}, {picture.name}"))
    return out


def _prepare_file(request: ProfileRequest, reuse: RunReuse) -> Path:
    """Where the profile goes; says now, and not after the measurement, that it cannot be written."""
    out = request.out
    if out is None:
        out = FOLDER / f"{request.model.stem}-{reuse.options.policy}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == PICTURE:
        raise OptionError(f"--out (={str(out)!r}) is where the picture goes: give a name that ends in .json")
    written = [out, out.with_suffix(PICTURE)] if out.name else [out]  # "." has no name, and is said to exist below
    check_apart(written, (request.video, request.model, request.thresholds))
    existed = out.exists()
    if existed and not request.overwrite:
        raise OptionError(f"{_named(request, out)} exists; give another name, or --overwrite")
    if not out.parent.is_dir():
        raise OptionError(f"--out (={str(out)!r}): the directory {str(out.parent)!r} does not exist")
    try:
        with out.open("ab"):
            pass
        if not existed:
            out.unlink()
    except OSError as error:
        raise OptionError(f"{_named(request, out)} cannot be written: {error.strerror or error}") from error
    return out


def _named(request: ProfileRequest, out: Path) -> str:
    return f"--out (={str(out)!r}{', the default' if request.out is None else ''})"


def _measure(
    request: ProfileRequest, reuse: RunReuse, model: PreparedModel, search: MeterSearch, screen: Console
) -> ProfiledEndpoint:
    detect = None
    layout = model.loaded.layout
    if request.video is not None and layout is not None and reuse.options.policy == "planned":
        # made-up pictures show no objects: there, all of the image counts as near them
        lowest = reuse.options.planned.region_confidence
        detect = DetectionHead(layout, model.canvas_shape, confidence=lowest)
    options = ProfilingOptions(frames=request.frames)
    with StepProgress(screen, total=options.frames) as progress:

        def show(frame: MeasuredFrame) -> None:
            progress.frames(1)
            progress.step(f"work {frame.work[0]:.0%}, {frame.ms:.1f} ms")

        return profile_latency(
            model.compiled,
            lambda: _clip(request.video, model.shape),
            reuse.options,
            options,
            detect=detect,
            meter=search.meter,
            facts=_facts(request, model),
            on_frame=show if screen.is_terminal else lambda _: None,
        )


def _clip(source: str | None, shape: tuple[int, int]) -> Iterator[tuple[Tensor, MotionField | None]]:
    if source is None:
        yield from synthetic_clip(shape)
        return
    with video.open(source, size=shape) as frames:
        for frame in frames:
            yield frame.planes, frame.motion


def _facts(request: ProfileRequest, model: PreparedModel) -> dict[str, Any]:
    return {
        "model": str(request.model),
        "clip": request.video or "made up",
        "network_size": list(model.shape),
        "canvas_px": model.canvas_px,
        "thresholds": thresholds_of(request.reuse),
    }
