"""`fluxshard explain`: its flags."""

from __future__ import annotations

from typing import Annotated

import typer

from fluxshard.cli.support.option_types import Autotune, Backend, Debug, DType, Model, Task
from fluxshard.cli.support.starting import imported_for_good

# heavy imports are inside: this module is imported by `fluxshard --help`


def explain(
    model: Model,
    task: Task = "auto",
    size: Annotated[
        str | None, typer.Option(help="Side in px, or HEIGHTxWIDTH; 640 unless given.", show_default=False)
    ] = None,
    backend: Backend = "auto",
    autotune: Autotune = False,
    target: Annotated[
        str | None,
        typer.Option(
            help="An architecture, such as cuda:sm_90: compiles its kernels, without a GPU, and prints what they need.",
            show_default=False,
        ),
    ] = None,
    dtype: DType = "float32",
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Every layer, with its geometry, kernel and cost.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Prints what a model's layers become, what is dense and why; with --target, what its kernels need."""
    with imported_for_good():
        from fluxshard.cli.explain_command import ExplainRequest, explain_command

    request = ExplainRequest(
        model=model,
        task=task,
        size=size,
        backend=backend,
        autotune=autotune,
        target=target,
        dtype=dtype,
        verbose=verbose,
    )
    print(explain_command(request))
