"""`fluxshard edge --plan server`: this machine is a camera; wires video, server, sinks and files together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

import fluxshard
from fluxshard import video
from fluxshard.cli.edge.edge_command import LinkFlags
from fluxshard.cli.edge.link_notes import LinkNotes
from fluxshard.cli.edge.supply import Frames, opened, supply
from fluxshard.cli.run.output_directory import files_of, prepare_directory
from fluxshard.cli.run.recording import Recording, RunFiles, record_run, write_frames
from fluxshard.cli.support.apart import check_apart
from fluxshard.cli.support.checks import check_share
from fluxshard.cli.support.messages import warnings_as_notes
from fluxshard.cli.support.reuse_flags import ReuseFlags, RunReuse, settle
from fluxshard.cloud.edge.camera.camera_session import CameraSession
from fluxshard.cloud.edge.camera.options import WatchOptions
from fluxshard.cloud.tcp_settings import tcp_settings
from fluxshard.errors import OptionError
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import image_shape, network_shape, parse_size
from fluxshard.options import ReuseOptions
from fluxshard.pipeline.device import RunDevice
from fluxshard.pipeline.stream_loop import StreamLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRequest:
    """The options of `fluxshard edge --plan server`, as given; see its help."""

    video: str
    out: Path
    link: LinkFlags
    model: Path | None = None
    task: str = "auto"
    size: str | None = None
    reuse: ReuseFlags = field(default_factory=ReuseFlags)
    frames: Frames = "auto"
    pace: bool = False
    max_frames: int | None = None
    show_reuse: bool = False
    confidence: float = 0.25
    iou: float = 0.7
    overwrite: bool = False


def camera_command(request: CameraRequest) -> int:
    """Has a server watch a video, and writes what came down.

    Returns:
      the exit status: 0, or 128 plus the signal that ended the run early.

    Raises:
      FluxShardError, OSError: what cannot go on; results so far are kept and summarised.
    """
    reuse = _check(request)
    options = _options(request, reuse)
    with video.open(request.video) as probe:
        picture_size, live = probe.shown_size, probe.is_live
    link = request.link
    check_apart(
        files_of(request.out), (request.video, request.model, request.reuse.profile, link.ca, link.cert, link.key)
    )
    prepare_directory(request.out, request.overwrite)
    notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
    with warnings_as_notes(notes):
        names, shape = _model(request, picture_size)
        facts = _facts(request, reuse, options, shape)

        def run(recording: Recording) -> None:
            with (
                opened(
                    request.video, request.frames, live=live, size=shape, max_frames=request.max_frames, packets=True,
                    vectors="none", stopped=lambda: recording.stopped,
                ) as source,
                LinkNotes(notes, away="frames go without an answer", computes=False) as link_notes,
                fluxshard.watch(source, request.link.server, options, on_link=link_notes.tell) as session,
                supply(source, request.frames, pace=request.pace) as frames,
            ):  # fmt: skip
                files = RunFiles(out=request.out, names=names, show_work=False)
                write_frames(files, frames, _loop(session), recording, screen, confidence=request.confidence)
                facts["offload"]["frames_dropped"] = frames.dropped
                if session.link.welcome is not None:
                    welcome = session.link.welcome
                    facts.update(backend=welcome.backend, device=welcome.device, dtype=welcome.dtype)

        return record_run(run, request.out, facts, notes, screen)


def _check(request: CameraRequest) -> RunReuse:
    check_share("conf", request.confidence)
    check_share("iou", request.iou)
    if request.size is not None:
        parse_size(request.size)
    link = request.link
    link.tls()
    for flag, is_given, instead in (
        ("--payload", link.payload not in ("auto", "bitstream"), "the video's own packets go up"),
        ("--server-work", link.server_work != "auto", "the server decides all"),
        ("--dispatch", link.dispatch != "hedged", "the server answers all frames"),
        ("--minimize", link.minimize != "latency", "the server answers all frames"),
        ("--latency-profile", link.latency_profile is not None, "this machine computes nothing"),
        ("--show-reuse", request.show_reuse, "the server does not tell where it has recomputed"),
    ):
        if is_given:
            raise OptionError(f"{flag} is not for --plan server: {instead}; leave it out")
    return settle(request.reuse)


def _model(request: CameraRequest, picture_size: tuple[int, int]) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Names of classes, and (H, W) of the images that the server makes."""
    if request.model is None:
        return (), image_shape(request.size, picture_size)
    loaded = load(request.model, request.task)
    return loaded.names, network_shape(request.size, picture_size, loaded)


def _options(request: CameraRequest, reuse: RunReuse) -> WatchOptions:
    link, profile = request.link, request.reuse.profile
    options = WatchOptions(
        reuse=reuse.options if profile is None else ReuseOptions(profile=profile),
        confidence=request.confidence,
        iou=request.iou,
        deadline_ms=link.deadline_ms,
        tls=link.tls(),
        token=link.token,
        insecure=link.insecure,
    )
    return options if link.stream is None else replace(options, stream=link.stream)


def _loop(session: CameraSession) -> StreamLoop:
    return StreamLoop(
        session=session,
        detect=lambda found: found,  # answers are detections already
        device=RunDevice(),
        placement=lambda: session.record.as_dict(),
    )


def _facts(request: CameraRequest, reuse: RunReuse, options: WatchOptions, shape: tuple[int, int]) -> dict[str, Any]:
    """Facts in summary.json besides the figures."""
    return {
        "version": fluxshard.__version__,
        "model": None if request.model is None else str(request.model),
        "video": request.video,
        "out": str(request.out),
        "network_size": list(shape),
        "policy": reuse.options.policy,
        "profile": None if request.reuse.profile is None else str(request.reuse.profile),
        "canvas_px": 0,
        "reuse": {name: value for name, value in asdict(reuse.options).items() if value is not None},
        "confidence": request.confidence,
        "iou": request.iou,
        "offload": {
            "server": request.link.server,
            "plan": "server",
            "payload": "bitstream",
            "answer": options.answer,
            "stream": options.stream,
            "deadline_ms": options.deadline_ms,
            "tcp": asdict(tcp_settings()),
        },
        "state_bytes": None,
    }
