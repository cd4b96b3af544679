"""`fluxshard export`: compiles a model and saves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import torch
from rich.console import Console

from fluxshard.cli.support.apart import check_apart
from fluxshard.cli.support.messages import warnings_as_notes
from fluxshard.cli.support.network_flags import NetworkFlags
from fluxshard.cli.support.reuse_flags import ReuseFlags, settle
from fluxshard.compile_loaded import compile_loaded
from fluxshard.compiled.save import check_free
from fluxshard.errors import OptionError
from fluxshard.models.loading.checkpoint import identify
from fluxshard.models.loading.load import load
from fluxshard.models.loading.names import with_names
from fluxshard.models.loading.sizes import network_shape, parse_size
from fluxshard.options import AnyDType, Backend, Isa
from fluxshard.saved.saved_model import SavedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """The options of `fluxshard export`, as given; see its help. A single size is the side of a square."""

    weights: Path
    out: Path
    sizes: tuple[str, ...] = ()
    task: str = "auto"
    names: Path | None = None
    profile: Path | None = None
    canvas: bool = False
    isas: tuple[str, ...] = ()
    backend: Backend = "auto"
    dtype: AnyDType = "float32"
    overwrite: bool = False


def export_command(request: ExportRequest) -> str:
    """Compiles a model for all sizes, writes the file, and says what is in it.

    Raises:
      FluxShardError, OSError: what cannot go on; nothing is written then.
    """
    check_apart([request.out], (request.weights, request.profile))
    check_free(request.out, request.overwrite)
    unknown = [isa for isa in request.isas if isa not in get_args(Isa)]
    if unknown:
        raise OptionError(f"--isa (={unknown[0]!r}) must be one of {', '.join(get_args(Isa))}")
    for size in request.sizes:
        parse_size(size)
    flags = NetworkFlags(model=request.weights, task=request.task, backend=request.backend, dtype=request.dtype)
    flags.check()
    reuse = settle(ReuseFlags(profile=request.profile, canvas=request.canvas or None))
    if identify(request.weights) == "saved":
        raise OptionError(f"{str(request.weights)!r} is a saved model already: give the weights that it was made from")
    flags.check_task()
    screen = Console(stderr=True, highlight=False)
    with warnings_as_notes(screen):
        loaded = with_names(load(request.weights, request.task), request.names)
        shapes = [network_shape(size, (1, 1), loaded) for size in request.sizes or (None,)]
        model = compile_loaded(loaded, options=flags.options(reuse.canvas_px(loaded)))
        for height, width in reversed(dict.fromkeys(shapes)):  # the first is compiled last: explain() shows that one
            with screen.status(f"compiling {request.weights.name} for {height}x{width} ..."):
                model.specialise(torch.zeros(1, 3, height, width))
        with screen.status(f"writing {request.out} ..."):
            saved = model.save(
                request.out,
                loaded=loaded,
                profile=reuse.threshold_profile,
                isas=cast(tuple[Isa, ...], request.isas),
                overwrite=request.overwrite,
            )
    return _summary(request.out, saved, loaded.task)


def _summary(out: Path, saved: SavedModel, task: str) -> str:
    sizes = ", ".join(f"{height}x{width}" for height, width in saved.image_sizes)
    isas = dict.fromkeys(program.isa for program in saved.programs)
    programs = f"{len(saved.programs)} programs for {', '.join(isas)}" if isas else "no programs"
    extras = [f"canvas of +{saved.options.canvas_px} px"] if saved.options.canvas_px else []
    extras += ["threshold profile"] if saved.profile is not None else []
    facts = [
        f"{out}: {out.stat().st_size / 1e6:.1f} MB",
        f"{task} at {sizes}",
        f"{saved.options.backend} in {saved.options.dtype}",
        programs,
    ]
    return "; ".join([*facts, *extras])
