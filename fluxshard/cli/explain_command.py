"""`fluxshard explain`: what every layer of a model becomes, or what its kernels need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from fluxshard.cli.support.messages import warnings_as_notes
from fluxshard.cli.support.progress import TuningProgress
from fluxshard.codegen.cuda.products import product_report
from fluxshard.codegen.cuda.report import parse_arch
from fluxshard.compile_loaded import compile_loaded
from fluxshard.errors import OptionError
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape, parse_size
from fluxshard.options import AnyDType, Backend, CompileOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest:
    """The options of `fluxshard explain`, as given; see its help. A single size is the side of a square."""

    model: Path
    task: str = "auto"
    size: str | None = None
    backend: Backend = "auto"
    autotune: bool = False
    target: str | None = None
    dtype: AnyDType = "float32"
    verbose: bool = False


def explain_command(request: ExplainRequest) -> str:
    """Describes the layers of a model, or the resources of its kernels, as text.

    Raises:
      FluxShardError: what cannot go on.
    """
    if request.size is not None:
        parse_size(request.size)
    if request.target is not None:
        parse_arch(request.target)
    elif request.dtype == "float16":
        raise OptionError("--dtype float16 is for --target: give an architecture such as cuda:sm_90")
    screen = Console(stderr=True, highlight=False)
    with warnings_as_notes(screen):
        loaded = load(request.model, request.task)
        shape = network_shape(request.size, (1, 1), loaded)
        # kernels for another machine need none for this one
        canvas_px = 0 if loaded.saved is None else loaded.saved.options.canvas_px
        options = CompileOptions(backend="reference", canvas_px=canvas_px)
        if request.target is None:
            options = CompileOptions(
                backend=request.backend, dtype=request.dtype, canvas_px=canvas_px, autotune=request.autotune
            )
        with screen.status(f"compiling {request.model.name} ...") as status:
            example, progress = torch.zeros(1, 3, *shape), TuningProgress(status)
            model = compile_loaded(loaded, example, options=options, progress=progress)
        if request.target is None:
            found = model.explain()
            return found.verbose() if request.verbose else str(found)
        with screen.status(f"compiling the kernels of {request.model.name} for {request.target} ..."):
            report = model.explain(target=request.target, dtype=request.dtype)
            products = product_report(report)
        return f"{report}\n\n{products}" if products.rows else str(report)
