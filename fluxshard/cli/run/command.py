"""`fluxshard run`: its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fluxshard.cli.support.option_types import AnyBackend, Debug, Device, DType, Model, Task

# heavy imports are inside: this module is imported by `fluxshard --help`


def run(
    video: Annotated[
        str, typer.Argument(help="A video file, a directory of pictures, a camera or a stream.", show_default=False)
    ],
    model: Model,
    out: Annotated[Path, typer.Option(help="Directory for the results; created.", show_default=False)],
    task: Task = "auto",
    size: Annotated[
        str | None,
        typer.Option(
            help="Long side in px (the short side follows the picture), or HEIGHTxWIDTH; 640 unless given.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        Literal["none", "dense"], typer.Option(help="Also run the original network on every frame, and measure both.")
    ] = "none",
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many frames.", show_default=False)
    ] = None,
    policy: Annotated[
        Literal["planned", "propagated"] | None,
        typer.Option(
            help="What is recomputed: planned from the image alone, or what each layer's features make of it.",
            show_default="planned",
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Threshold profile: policy, thresholds and canvas that `fluxshard calibrate` found for this model.",
            show_default=False,
        ),
    ] = None,
    canvas: Annotated[
        bool | None,
        typer.Option(
            "--canvas/--no-canvas",
            help="Planned: move the image on a larger canvas, so that what pans stands still; costs agreement.",
            show_default="no-canvas, or what the profile says",
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
    show_reuse: Annotated[bool, typer.Option("--show-reuse", help="Tint what was recomputed.")] = False,
    device: Device = "cpu",
    dtype: DType = "float32",
    backend: AnyBackend = "auto",
    conf: Annotated[float, typer.Option(help="Detections must score above.")] = 0.25,
    iou: Annotated[float, typer.Option(help="Of two boxes that overlap more, the better stays.")] = 0.7,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")] = False,
    debug: Debug = False,
) -> None:
    """Runs a model over a video; writes annotated.mp4, frames.jsonl, summary.json and summary.png."""
    from fluxshard.cli.run.run_command import RunRequest, run_command
    from fluxshard.cli.support.reuse_flags import ReuseFlags

    reuse = ReuseFlags(
        policy=policy,
        profile=profile,
        canvas=canvas,
        tau_input=tau_input,
        tau=tau,
        rfap=rfap,
        input=input_mode,
        remap=remap,
    )
    request = RunRequest(
        video=video,
        model=model,
        out=out,
        task=task,
        size=size,
        dense=compare == "dense",
        max_frames=max_frames,
        show_reuse=show_reuse,
        device=device,
        dtype=dtype,
        backend=backend,
        confidence=conf,
        iou=iou,
        overwrite=overwrite,
        reuse=reuse,
    )
    raise typer.Exit(run_command(request))
