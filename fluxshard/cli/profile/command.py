"""`fluxshard profile`: its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxshard.cli.support.option_types import (
    AnyBackend,
    Debug,
    Device,
    DType,
    Model,
    ReusePolicy,
    Size,
    Task,
    Thresholds,
)
from fluxshard.cli.support.starting import imported_for_good

# heavy imports are inside: this module is imported by `fluxshard --help`


def profile(
    model: Model,
    video: Annotated[
        str | None,
        typer.Option(
            help="A video like those that will be seen, a directory of pictures, or a camera; it is run over and over.",
            show_default="moving pictures that are made up",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The latency profile to write; a picture of it is put beside it.",
            show_default="runs/latency/MODEL-POLICY.json",
        ),
    ] = None,
    task: Task = "auto",
    size: Size = None,
    policy: ReusePolicy = None,
    thresholds: Thresholds = None,
    frames: Annotated[int, typer.Option(min=20, help="Frames to measure.")] = 160,
    device: Device = "cpu",
    dtype: DType = "float32",
    backend: AnyBackend = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing latency profile.")] = False,
    debug: Debug = False,
) -> None:
    """Measures what a frame takes on this machine, and its energy where there is a meter, against its predicted work.

    The latency profile serves where a frame may run here or elsewhere; it holds for this model, size and machine.
    """
    with imported_for_good():
        from fluxshard.cli.profile.profile_command import ProfileRequest, profile_command

    request = ProfileRequest(
        model=model,
        video=video,
        out=out,
        task=task,
        size=size,
        policy=policy,
        thresholds=thresholds,
        frames=frames,
        device=device,
        dtype=dtype,
        backend=backend,
        overwrite=overwrite,
    )
    profile_command(request)
