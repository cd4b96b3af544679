"""`fluxshard run`: its flags."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from fluxshard.cli.support.option_types import (
    AnyBackend,
    Autotune,
    Confidence,
    Debug,
    Device,
    DType,
    MaxFrames,
    MaxSkip,
    Model,
    Names,
    OutDirectory,
    Overlap,
    Overwrite,
    ReusePolicy,
    ShowReuse,
    Size,
    SkipBudget,
    Task,
    Thresholds,
    Videos,
)
from fluxshard.cli.support.starting import imported_for_good

# heavy imports are inside: this module is imported by `fluxshard --help`


def run(
    video: Videos,
    model: Model,
    out: OutDirectory,
    task: Task = "auto",
    names: Names = None,
    size: Size = None,
    compare: Annotated[
        Literal["none", "dense"], typer.Option(help="Also run the original network on every frame, and measure both.")
    ] = "none",
    max_frames: MaxFrames = None,
    policy: ReusePolicy = None,
    profile: Thresholds = None,
    canvas: Annotated[
        bool | None,
        typer.Option(
            "--canvas/--no-canvas",
            help="Planned: move the image on a larger canvas, so that what pans stands still; costs agreement.",
            show_default="no-canvas, or what the profile says",
        ),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact",
            help="Reuse only what has not changed: equals the dense network up to rounding.",
            show_default=False,
        ),
    ] = None,
    tau_input: Annotated[
        float | None,
        typer.Option(help="Propagated: a pixel that differs by more (0..1) is recomputed.", show_default="0.02"),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(
            help="Propagated: a feature that differs by more is passed on; 0 passes on every change.",
            show_default="0.1",
        ),
    ] = None,
    rfap: Annotated[
        Literal["compact", "per_layer", "off"] | None,
        typer.Option(
            help="Propagated: receptive-field check: compact, or exact at zero thresholds.", show_default="compact"
        ),
    ] = None,
    input_mode: Annotated[
        Literal["assembled", "fresh"] | None,
        typer.Option(
            "--input",
            help="Propagated: feed cached pixels where nothing changed, or the new frame.",
            show_default="assembled",
        ),
    ] = None,
    remap: Annotated[
        bool | None,
        typer.Option("--remap/--no-remap", help="Propagated: move the cache along the motion.", show_default="remap"),
    ] = None,
    skip_budget: SkipBudget = 0.0,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Planned: share (0..1) of the dense network's result to keep: at most 3% of the frames are computed "
            "whole as well, and thresholds follow.",
            show_default="thresholds stay",
        ),
    ] = None,
    max_skip: MaxSkip = 3,
    track: Annotated[
        bool, typer.Option("--track", help="Give objects identities over the frames (ByteTrack).", show_default=False)
    ] = False,
    show_reuse: ShowReuse = False,
    film: Annotated[bool, typer.Option("--film/--no-film", help="Write annotated.mp4.", show_default="film")] = True,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave damaged frames of a file out; of streams they always are.")
    ] = False,
    frames: Annotated[
        Literal["auto", "every", "newest"],
        typer.Option(help="Of live sources, every frame or the newest; auto: newest of cameras and RTSP."),
    ] = "auto",
    reconnect: Annotated[
        bool | None,
        typer.Option(
            "--reconnect/--no-reconnect",
            help="Open a live source again whenever it breaks off or ends, for ever.",
            show_default="reconnect, but after the orderly end of TCP and of files over HTTP",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds without an answer after which a live source is away.")] = 10.0,
    transport: Annotated[Literal["tcp", "udp"], typer.Option(help="What RTSP comes over.")] = "tcp",
    device: Device = "cpu",
    dtype: DType = "float32",
    backend: AnyBackend = "auto",
    autotune: Autotune = False,
    conf: Confidence = 0.25,
    iou: Overlap = 0.7,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Runs a model over videos; writes annotated.mp4, frames.jsonl, summary.json and summary.png."""
    with imported_for_good():
        from fluxshard.cli.run.run_command import RunRequest, run_command
        from fluxshard.cli.run.several import run_several
        from fluxshard.cli.support.reuse_flags import ReuseFlags
        from fluxshard.video import LiveOptions

    reuse = ReuseFlags(
        policy=policy,
        profile=profile,
        canvas=canvas,
        exact=exact,
        tau_input=tau_input,
        tau=tau,
        rfap=rfap,
        input=input_mode,
        remap=remap,
    )
    live = LiveOptions(
        frames=frames,
        reconnect="auto" if reconnect is None else "always" if reconnect else "never",
        timeout_s=timeout,
        transport=transport,
    )
    request = RunRequest(
        video=video[0],
        skip_damaged=skip_damaged,
        live=live,
        model=model,
        out=out,
        task=task,
        names=names,
        size=size,
        dense=compare == "dense",
        max_frames=max_frames,
        track=track,
        show_reuse=show_reuse,
        film=film,
        device=device,
        dtype=dtype,
        backend=backend,
        autotune=autotune,
        confidence=conf,
        iou=iou,
        overwrite=overwrite,
        reuse=reuse,
        alpha=alpha,
        skip_budget=skip_budget,
        max_skip=max_skip,
    )
    raise typer.Exit(run_several(request, video) if len(video) > 1 else run_command(request))
