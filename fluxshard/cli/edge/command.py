"""`fluxshard edge`: its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fluxshard.cli.support.extras import needs_extra
from fluxshard.cli.support.option_types import (
    AnyBackend,
    Confidence,
    Debug,
    Device,
    DType,
    MaxFrames,
    MaxSkip,
    OutDirectory,
    Overlap,
    Overwrite,
    ReusePolicy,
    ShowReuse,
    Size,
    SkipBudget,
    Task,
    Thresholds,
    Video,
)
from fluxshard.cli.support.starting import imported_for_good
from fluxshard.errors import OptionError

# heavy imports are inside: this module is imported by `fluxshard --help`


def edge(
    video: Video,
    server: Annotated[str, typer.Option(help="HOST:PORT of `fluxshard serve`.", show_default=False)],
    out: OutDirectory,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="As for `run`. With --plan server, only its classes' names are read.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        Literal["edge", "server"],
        typer.Option(help="Who decides what is recomputed. With server, this machine is a camera and needs no model."),
    ] = "edge",
    ca: Annotated[
        Path | None, typer.Option(help="Authority of the server's certificate, PEM.", show_default=False)
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="This edge's certificate, PEM.", show_default=False)] = None,
    key: Annotated[Path | None, typer.Option(help="This edge's private key, PEM.", show_default=False)] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="Says who this edge is, where it has no certificate.", envvar="FLUXSHARD_TOKEN", show_default=False
        ),
    ] = None,
    server_name: Annotated[
        str | None, typer.Option(help="Name in the server's certificate, if not that of HOST.", show_default=False)
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Without TLS; for a server on this machine only.")
    ] = False,
    stream: Annotated[
        str | None, typer.Option(help="Name of the video on the server.", show_default="this machine's name")
    ] = None,
    payload: Annotated[
        Literal["auto", "bitstream", "packed", "jpeg", "raw"],
        typer.Option(help="What goes up: the video's own packets, or the pixels to recompute; auto: the packets."),
    ] = "auto",
    server_work: Annotated[
        Literal["auto", "edge", "server"],
        typer.Option(
            help="Who finds what the server has to recompute: this machine, for the server, or the server in the "
            "packets that go up; auto: the server, where packets go up and reuse is planned."
        ),
    ] = "auto",
    dispatch: Annotated[
        Literal["hedged", "paper"],
        typer.Option(help="Who answers a frame: whoever is likely to be first, watched; or the paper's Algorithm 1."),
    ] = "hedged",
    deadline: Annotated[
        float | None, typer.Option(help="Milliseconds within which a frame should be answered.", show_default=False)
    ] = None,
    answer_within: Annotated[
        float | None,
        typer.Option(
            help="Milliseconds after which a frame whose own result is not there has the newest one, moved to it.",
            show_default=False,
        ),
    ] = None,
    skip_budget: SkipBudget = 0.0,
    max_skip: MaxSkip = 3,
    minimize: Annotated[
        Literal["latency", "energy"],
        typer.Option(help="Of this machine, among what meets the deadline; energy needs a --latency-profile with it."),
    ] = "latency",
    margin: Annotated[float, typer.Option(help="Milliseconds by which the edge must be faster to be chosen.")] = 5.0,
    keep_warm: Annotated[
        bool, typer.Option("--keep-warm/--no-keep-warm", help="Send the server what the edge has answered, too.")
    ] = True,
    frames: Annotated[
        Literal["auto", "every", "newest"],
        typer.Option(help="Run every frame, or drop those that a newer one has overtaken; auto: newest if it is live."),
    ] = "auto",
    pace: Annotated[
        bool, typer.Option("--pace", help="Give the frames of a file at their own times, as a camera would.")
    ] = False,
    task: Task = "auto",
    size: Size = None,
    max_frames: MaxFrames = None,
    policy: ReusePolicy = None,
    profile: Thresholds = None,
    latency_profile: Annotated[
        Path | None, typer.Option(help="Of this machine, from `fluxshard profile`.", show_default="measured meanwhile")
    ] = None,
    show_reuse: ShowReuse = False,
    device: Device = "cpu",
    dtype: DType = "float32",
    backend: AnyBackend = "auto",
    conf: Confidence = 0.25,
    iou: Overlap = 0.7,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Runs a model over a video here or on a server, frame by frame, whichever is done first; writes what `run` does.

    Without a server, and while the link is down, all frames run here. With --plan server they go without an answer.
    """
    with needs_extra("cloud"), imported_for_good():
        from fluxshard.cli.edge.camera_command import CameraRequest, camera_command
        from fluxshard.cli.edge.edge_command import EdgeRequest, LinkFlags, edge_command
    from fluxshard.cli.support.network_flags import NetworkFlags
    from fluxshard.cli.support.reuse_flags import ReuseFlags

    link = LinkFlags(
        server=server, ca=ca, cert=cert, key=key, token=token, server_name=server_name, insecure=insecure,
        stream=stream, payload=payload, server_work=server_work, dispatch=dispatch, deadline_ms=deadline,
        minimize=minimize, margin_ms=margin, keep_warm=keep_warm, latency_profile=latency_profile,
    )  # fmt: skip
    reuse = ReuseFlags(policy=policy, profile=profile)
    if plan == "server":
        for flag, is_given in (("--answer-within", answer_within is not None), ("--skip-budget", skip_budget > 0)):
            if is_given:
                raise OptionError(f"{flag} needs --plan edge: a camera alone has no results to move")
        watched = CameraRequest(
            video=video, out=out, link=link, model=model, task=task, size=size, reuse=reuse, frames=frames, pace=pace,
            max_frames=max_frames, show_reuse=show_reuse, confidence=conf, iou=iou, overwrite=overwrite,
        )  # fmt: skip
        raise typer.Exit(camera_command(watched))
    if model is None:
        raise OptionError("--model is missing: the network that runs here and on the server; or use --plan server")
    request = EdgeRequest(
        video=video,
        out=out,
        link=link,
        network=NetworkFlags(model=model, task=task, size=size, device=device, dtype=dtype, backend=backend),
        reuse=reuse,
        frames=frames,
        pace=pace,
        max_frames=max_frames,
        show_reuse=show_reuse,
        confidence=conf,
        iou=iou,
        answer_within_ms=answer_within,
        skip_budget=skip_budget,
        max_skip=max_skip,
        overwrite=overwrite,
    )
    raise typer.Exit(edge_command(request))
