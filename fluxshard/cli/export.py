"""`fluxshard export`: its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fluxshard.cli.support.option_types import Debug, DType, Names, Task
from fluxshard.cli.support.starting import imported_for_good

# heavy imports are inside: this module is imported by `fluxshard --help`


def export(
    weights: Annotated[
        Path,
        typer.Argument(
            help="Ultralytics .pt, a torch.save'd nn.Module, or a .pt2 program.", metavar="WEIGHTS", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write, such as seg.fluxshard.", show_default=False)],
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Image size: a side in px, or HEIGHTxWIDTH; may be given again. The first is shown by explain.",
            show_default="640x640",
        ),
    ] = None,
    task: Task = "auto",
    names: Names = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="Threshold profile to run with where nothing else is said.", show_default=False),
    ] = None,
    canvas: Annotated[bool, typer.Option("--canvas", help="For runs on a larger canvas.")] = False,
    isa: Annotated[
        list[str] | None,
        typer.Option(
            help="Instruction set to compile for: native, avx512, avx2 or portable; may be given again: a processor "
            "runs the best that it has.",
            show_default="native",
        ),
    ] = None,
    backend: Annotated[
        Literal["auto", "cpp", "reference"], typer.Option(help="What executes the model; reference needs no programs.")
    ] = "auto",
    dtype: DType = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    debug: Debug = False,
) -> None:
    """Compiles a model and writes one file that runs without a compiler, ultralytics or torch.export."""
    with imported_for_good():
        from fluxshard.cli.export_command import ExportRequest, export_command

    request = ExportRequest(
        weights=weights,
        out=out,
        sizes=tuple(size or ()),
        task=task,
        names=names,
        profile=profile,
        canvas=canvas,
        isas=tuple(isa or ()),
        backend=backend,
        dtype=dtype,
        overwrite=overwrite,
    )
    print(export_command(request))
