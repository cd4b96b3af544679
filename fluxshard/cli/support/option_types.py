"""Options that several commands take; only what parsing needs is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[
    Path,
    typer.Option(
        "--model", "-m", help="Ultralytics .pt, a torch.save'd nn.Module, or a .pt2 program.", show_default=False
    ),
]
Task = Annotated[Literal["auto", "detect", "segment", "pose", "raw"], typer.Option(help="What the outputs mean.")]
Backend = Annotated[Literal["auto", "cpp", "reference"], typer.Option(help="What executes the model.")]
AnyBackend = Annotated[
    Literal["auto", "cpp", "cuda", "reference", "emulated"],
    typer.Option(help="What executes the model; emulated runs the CUDA kernels on the CPU, very slowly."),
]
Device = Annotated[str, typer.Option(help="Where it runs: cpu, cuda or cuda:N.")]
DType = Annotated[
    Literal["float32", "float16", "bfloat16"], typer.Option(help="What features are stored as; others are for CUDA.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces.")]
