"""`fluxshard edge`: wires model, video, server, sinks and files together."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

import fluxshard
from fluxshard import video
from fluxshard.cli.edge.link_notes import LinkNotes
from fluxshard.cli.edge.supply import Frames, opened, supply
from fluxshard.cli.run.output_directory import PLACEMENTS, files_of, prepare_directory
from fluxshard.cli.run.recording import Recording, RunFiles, record_run, write_frames
from fluxshard.cli.support.apart import check_apart
from fluxshard.cli.support.checks import check_share
from fluxshard.cli.support.messages import device_errors, warnings_as_notes
from fluxshard.cli.support.network_flags import NetworkFlags, PreparedModel, prepare
from fluxshard.cli.support.reuse_flags import ReuseFlags, RunReuse, settle, with_saved_profile
from fluxshard.cloud.edge.detection_answers import detection_answers
from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions, PayloadName, ServerWork
from fluxshard.cloud.edge.session_parts import DetectionAnswers
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.cloud.tcp_settings import tcp_settings
from fluxshard.errors import OptionError
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape
from fluxshard.models.tasks.heads import head_for
from fluxshard.models.tasks.result import Read
from fluxshard.pipeline.anytime.timely_loop import TimelyLoop
from fluxshard.pipeline.carrying.carrier import ResultCarrier
from fluxshard.pipeline.carrying.options import SkipOptions
from fluxshard.pipeline.device import RunDevice, full_float32, machine_facts
from fluxshard.pipeline.run_video import VideoLoop
from fluxshard.pipeline.sinks.line_file import LineFile
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.runtime.offload.dispatch import DispatchOptions, Goal, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFlags:
    """The flags about the server as given; see the help of `fluxshard edge`."""

    server: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)
    server_name: str | None = None
    insecure: bool = False
    stream: str | None = None
    payload: Literal["auto", "bitstream", "packed", "jpeg", "raw"] = "auto"
    server_work: ServerWork = "auto"
    dispatch: Policy = "hedged"
    deadline_ms: float | None = None
    minimize: Goal = "latency"
    margin_ms: float = 5.0
    keep_warm: bool = True
    latency_profile: Path | None = None

    def tls(self) -> ClientTls | None:
        """Files of TLS; None without.

        Raises:
          OptionError: neither TLS nor plaintext, or both.
        """
        given = [name for name in ("ca", "cert", "key", "server_name") if getattr(self, name) is not None]
        if self.insecure:
            if given:
                raise OptionError(f"--insecure goes without TLS: leave out --{given[0].replace('_', '-')}")
            return None
        if self.ca is None:
            raise OptionError("--ca is missing: the authority of the server's certificate (see `fluxshard certs`)")
        return ClientTls(authority=self.ca, certificate=self.cert, key=self.key, server_name=self.server_name)

    def options(self, payload: PayloadName, *, answers: bool) -> OffloadOptions:
        """How to share the stream.

        Args:
          payload: what goes up.
          answers: detections come down, not outputs.
        """
        dispatch = DispatchOptions(
            policy=self.dispatch, margin_ms=self.margin_ms, minimize=self.minimize, deadline_ms=self.deadline_ms
        )
        options = OffloadOptions(
            dispatch=dispatch,
            payload=payload,
            server_work=self.server_work,
            answer="detections" if answers else "outputs",
            keep_warm=self.keep_warm,
            latency_profile=self.latency_profile,
            tls=self.tls(),
            token=self.token,
            insecure=self.insecure,
        )
        return options if self.stream is None else replace(options, stream=self.stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRequest:
    """The options of `fluxshard edge`, as given; see its help."""

    video: str
    out: Path
    link: LinkFlags
    network: NetworkFlags
    reuse: ReuseFlags = field(default_factory=ReuseFlags)
    frames: Frames = "auto"
    pace: bool = False
    max_frames: int | None = None
    show_reuse: bool = False
    confidence: float = 0.25
    iou: float = 0.7
    answer_within_ms: float | None = None
    skip_budget: float = 0.0
    max_skip: int = 3
    overwrite: bool = False

    @property
    def skip(self) -> SkipOptions:
        """When a frame is not computed."""
        return SkipOptions(budget=self.skip_budget, most=self.max_skip)


def edge_command(request: EdgeRequest) -> int:
    """Runs a model over a video in two places and writes what came out.

    Returns:
      the exit status: 0, or 128 plus the signal that ended the run early.

    Raises:
      FluxShardError, OSError: what cannot go on; results so far are kept and summarised.
    """
    reuse = _check(request)
    with video.open(request.video) as probe:
        picture_size, live = probe.shown_size, probe.is_live
    link = request.link
    read = (request.video, request.network.model, request.reuse.profile, link.latency_profile, link.ca, link.cert)
    check_apart(files_of(request.out), (*read, link.key))
    prepare_directory(request.out, request.overwrite)
    notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
    with warnings_as_notes(notes), device_errors():
        loaded = load(request.network.model, request.network.task)
        reuse = with_saved_profile(request.reuse, reuse, loaded)
        shape = network_shape(request.network.size, picture_size, loaded)
        with screen.status(f"compiling {request.network.model.name} for {shape[0]}x{shape[1]} ..."):
            model = prepare(request.network, reuse, loaded, shape)
            full_float32(model.compiled.device)
        if model.canvas_px:
            raise OptionError("a threshold profile with a canvas cannot be used in two places: calibrate without one")
        answers = _answers(request, reuse, model)
        if request.answer_within_ms is not None and answers is None:
            raise OptionError("--answer-within moves detections, and this network's outputs are none")
        if request.skip_budget and answers is None:
            raise OptionError("--skip-budget needs a network whose detections are known: leave it out")
        facts = _facts(request, reuse, model)

        def run(recording: Recording) -> None:
            with (
                device_errors(),
                opened(
                    request.video, request.frames, live=live, size=shape, max_frames=request.max_frames,
                    packets=request.link.payload in ("auto", "bitstream"), stopped=lambda: recording.stopped,
                ) as source,
            ):  # fmt: skip
                payload = _payload(request, source)
                options = request.link.options(payload, answers=answers is not None)
                if request.show_reuse:  # a server that plans does not tell where it has recomputed
                    options = replace(options, server_work="edge")
                server_work = "server" if options.server_plans(reuse.options) else "edge"
                facts["offload"] |= {
                    "payload": payload, "server_work": server_work, "answer": options.answer, "stream": options.stream
                }  # fmt: skip
                with (
                    LinkNotes(notes) as link_notes,
                    LineFile(request.out / PLACEMENTS) as placements,
                    fluxshard.offload(
                        model.compiled, request.link.server, reuse=reuse.options, options=options,
                        video=source if payload == "bitstream" else None, detections=answers, on_link=link_notes.tell,
                        on_settled=lambda record: placements.append(record.as_dict()),
                    ) as session,
                    supply(source, request.frames, pace=request.pace) as frames,
                ):  # fmt: skip
                    files = RunFiles(
                        out=request.out, names=loaded.names, show_work=request.show_reuse, task=loaded.task
                    )
                    loop = _loop(
                        request, reuse, session, answers, head_for(loaded.task, shape) if answers is None else None
                    )
                    with _timely(loop, request.answer_within_ms) as timely:
                        write_frames(files, frames, timely, recording, screen, confidence=request.confidence)
                    facts["state_bytes"] = session.state_bytes
                    facts["offload"]["frames_dropped"] = frames.dropped

        return record_run(run, request.out, facts, notes, screen)


def _check(request: EdgeRequest) -> RunReuse:
    check_share("conf", request.confidence)
    check_share("iou", request.iou)
    request.network.check()
    request.link.tls()
    if request.answer_within_ms is not None and not 0 < request.answer_within_ms < inf:
        raise OptionError(f"--answer-within (={request.answer_within_ms:g}) must be above 0, in milliseconds")
    if request.link.server_work == "server" and request.link.payload not in ("auto", "bitstream"):
        raise OptionError("--server-work server needs the whole video: leave out --payload, or use bitstream")
    if request.show_reuse and request.link.server_work == "server":
        raise OptionError(
            "--show-reuse needs --server-work edge: a server that plans does not tell where it recomputes"
        )
    _ = request.skip  # its values are checked as it is made
    if request.skip_budget and request.answer_within_ms is not None:
        raise OptionError("--answer-within moves results by itself: leave out --skip-budget")
    reuse = settle(request.reuse)
    if request.link.server_work == "server" and reuse.options.policy != "planned":
        raise OptionError("--server-work server is for --policy planned: leave it out")
    if request.skip_budget and reuse.options.policy != "planned":
        raise OptionError("--skip-budget is for --policy planned: leave it out")
    request.network.check_task()
    return reuse


def _payload(request: EdgeRequest, source: video.VideoSource | video.LiveSource) -> PayloadName:
    if request.link.payload != "auto":
        return request.link.payload
    return "packed" if source.packet_stream is None else "bitstream"


def _answers(request: EdgeRequest, reuse: RunReuse, model: PreparedModel) -> DetectionAnswers | None:
    """How outputs become detections: so that those come down, and not a thousand times as much."""
    if model.loaded.layout is None:
        return None
    lowest = request.confidence
    if reuse.options.policy == "planned":
        lowest = min(lowest, reuse.options.planned.region_confidence)  # fainter ones are regions
    return detection_answers(model.loaded.layout, model.shape, confidence=lowest, iou=request.iou)


def _loop(
    request: EdgeRequest,
    reuse: RunReuse,
    session: OffloadedSession,
    answers: DetectionAnswers | None,
    read: Read | None,
) -> StreamLoop:
    carrier = None
    if request.skip_budget:
        carrier = ResultCarrier(request.skip, session.glance, request.confidence, session.changed)
    return StreamLoop(
        session=session,
        carrier=carrier,
        skipped=session.skip,
        detect=None if answers is None else _as_they_are,
        objects=reuse.options.planned if reuse.options.policy == "planned" and answers is not None else None,
        device=RunDevice(),
        placement=lambda: session.record.as_dict(),
        read=read,
    )


def _timely(loop: StreamLoop, within_ms: float | None) -> AbstractContextManager[VideoLoop]:
    """The loop, or answers within a time around it."""
    return nullcontext(loop) if within_ms is None else TimelyLoop(loop, within_ms)


def _as_they_are(found: Any) -> Any:
    """What either endpoint answers are detections already."""
    return found


def _facts(request: EdgeRequest, reuse: RunReuse, model: PreparedModel) -> dict[str, Any]:
    """Facts in summary.json besides the figures."""
    compiled, link = model.compiled, request.link
    return {
        "version": fluxshard.__version__,
        "model": str(request.network.model),
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
        "canvas_px": 0,
        "reuse": {name: value for name, value in asdict(reuse.options).items() if value is not None},
        "confidence": request.confidence,
        "iou": request.iou,
        "answer_within_ms": request.answer_within_ms,
        "skip": asdict(request.skip),
        "machine": machine_facts(RunDevice(compiled.device)),
        "offload": {
            "server": link.server,
            "dispatch": link.dispatch,
            "margin_ms": link.margin_ms,
            "deadline_ms": link.deadline_ms,
            "minimize": link.minimize,
            "keep_warm": link.keep_warm,
            "tcp": asdict(tcp_settings()),
        },
        "state_bytes": None,
    }
