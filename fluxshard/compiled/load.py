"""Opens saved models: no capture, no passes, and no compiler where the programs in the file fit this machine."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fluxshard.backends import CppPrograms, check_target
from fluxshard.codegen.common.cache import cache_root
from fluxshard.codegen.common.toolchain import ISAS, multiplies_pairs, processor_has, processor_target
from fluxshard.codegen.cpp.program_cache import install
from fluxshard.compiled.example import Example, example_image
from fluxshard.compiled.lowered import Lowered
from fluxshard.compiled.model import CompiledModel
from fluxshard.errors import CompileError, CompileTimeError, ModelError, OptionError, ShapeError, ToolchainError, warn
from fluxshard.ir.kernel import PAIRS_FLAG
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.saved import described
from fluxshard.options import CompileOptions, Isa, checked_options
from fluxshard.runtime.threshold_profile import ThresholdProfile
from fluxshard.saved.saved_model import SavedModel, SavedProgram, SavedSize, read_saved
from fluxshard.saved.weights import tensor_of


def load(path: Path | str, *, options: CompileOptions | None = None, target: str | None = None) -> CompiledModel:
    """Opens a model that `CompiledModel.save` or `fluxshard export` wrote.

    The file holds machine code, which runs when the model does: open only files from a source that you trust. Its hash
    finds damage, not intent.

    Args:
      path: of the file.
      options: None: those that it was saved with. Others may differ in all but `canvas_px`; kernels that the file does
        not hold are taken from the kernel cache, or compiled.
      target: as for `compile`; None: the kind that it was saved for.

    Returns:
      the model, ready for images of the sizes that it was saved with: another size raises ShapeError, and there is no
      `graph_module`.

    Raises:
      ModelError: the file is missing, damaged, of another kind, or of a version that this one does not read.
      ToolchainError: its programs are for another processor, and there is no compiler to make them anew.
      OptionError: options or a target that are not allowed.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ModelError(f"saved model {path!r:.80} is a {type(path).__name__}; give the path of a file")
    if options is not None:
        checked_options(options, CompileOptions)
    return open_saved(read_saved(path), options=options, target=target)


def open_loaded(
    loaded: LoadedModel, saved: SavedModel, example: Example | None, *, options: CompileOptions, target: str
) -> CompiledModel:
    """Opens a saved model with options as for `compile`; it stores what it was saved with, unless they say otherwise.

    Args:
      loaded: what its outputs mean.
      saved: the file.
      example, options, target: as for `compile`.

    Raises:
      OptionError: a canvas that it was not saved with.
      ShapeError: an example of a size that it was not saved for.
      FluxShardError: as for `load`.
    """
    saved_px = saved.options.canvas_px
    if options.canvas_px != saved_px:
        raise OptionError(
            f"a canvas of {options.canvas_px} px is wanted, and {saved.path!r} was saved with one of "
            f"{saved_px} px: export the network again with such a canvas, or give its weights file"
        )
    if options.dtype == "float32" and options.backend != "reference":
        options = replace(options, dtype="auto")  # nothing else was asked for: as it was saved
    model = open_saved(saved, options=options, target=target, loaded=loaded)
    if example is not None:
        model.specialise(example_image(example))
    return model


def open_saved(
    saved: SavedModel,
    *,
    options: CompileOptions | None = None,
    target: str | None = None,
    loaded: LoadedModel | None = None,
) -> CompiledModel:
    """Opens what `read_saved` read; arguments, result and errors are those of `load`.

    Args:
      saved, options, target: see there.
      loaded: what its outputs mean; None: what the file says.
    """
    kind = "cuda" if saved.options.backend in ("cuda", "emulated") else "cpu"
    target = target or kind
    options = _options(saved, options, same_kind=target.partition(":")[0] == kind)
    target = check_target(target, options)
    programs, why_not = None, ""
    if options.backend not in ("reference", "emulated"):
        programs, why_not = _programs(saved, options)
        options = replace(options, isa=programs.target.isa)  # type: ignore[arg-type]
    model = CompiledModel(
        SavedNetwork(saved),
        options,
        target,
        programs=programs,
        profile=None if saved.profile is None else ThresholdProfile.of_plain(saved.profile, saved.path),
        loaded=loaded or described(saved),
    )
    try:
        model.specialise(torch.zeros(saved.image_shapes[-1]))
    except CompileError:
        raise
    except ToolchainError as error:
        if not why_not:
            raise
        raise ToolchainError(f"{why_not}. They cannot be made anew: {error}") from error
    return model


class SavedNetwork:
    """See `Network`: the plans of a file."""

    def __init__(self, saved: SavedModel) -> None:
        self._path = saved.path
        self._sizes: dict[tuple[int, ...], SavedSize] = dict(zip(saved.image_shapes, saved.sizes, strict=True))

    def lower(self, image: Tensor) -> Lowered:
        """See `Network.lower`."""
        size = self._sizes.get(tuple(image.shape))
        if size is None:
            raise ShapeError(
                f"image is {tuple(image.shape)}; {self._path!r} was saved for "
                f"{', '.join(map(str, self._sizes))}: give such images, or save the model for this size, too"
            )
        weights = {name: tensor_of(array) for name, array in size.weights.items()}
        return Lowered(plan=size.plan, weights=weights, dense_macs=size.dense_macs)


def _options(saved: SavedModel, given: CompileOptions | None, *, same_kind: bool) -> CompileOptions:
    if given is None:
        return saved.options if same_kind else replace(saved.options, backend="auto", dtype="auto")
    if given.canvas_px != saved.options.canvas_px:
        raise OptionError(
            f"canvas_px (={given.canvas_px}) must be {saved.options.canvas_px}, with which {saved.path!r} was saved: "
            "compile the network for another"
        )
    if not same_kind:
        return given
    # "auto" is what it was where the model was compiled: that another backend or type takes its place is not for a file
    backend = saved.options.backend if given.backend == "auto" else given.backend
    dtype = saved.options.dtype if given.dtype == "auto" and backend == saved.options.backend else given.dtype
    return replace(given, backend=backend, dtype=dtype)


def _programs(saved: SavedModel, options: CompileOptions) -> tuple[CppPrograms, str]:
    """The file's programs for this processor in the kernel cache, and why some are not; empty where all are."""
    has, machine = processor_has(), platform.machine()
    wanted: tuple[Isa, ...] = ISAS if options.isa == "native" else (options.isa,)
    fitting = [one for one in saved.programs if one.machine == machine and one.isa in has]
    isa = next((isa for isa in wanted if any(one.isa == isa for one in fitting)), None)
    chosen = [one for one in fitting if one.isa == isa]
    usable = [one for one in chosen if PAIRS_FLAG not in one.flags or multiplies_pairs()]
    why_not = ""
    if len(usable) < len(chosen) or (saved.programs and not chosen):
        seen = ", ".join(sorted({f"{_instructions(program)} on {program.machine}" for program in saved.programs}))
        allowed = options.isa if options.isa != "native" else ", ".join(isa for isa in ISAS if isa in has)
        why_not = f"{saved.path!r} holds programs for {seen}, and {allowed} on {machine} is wanted here"
    programs = CppPrograms(target=processor_target(isa or options.isa))
    try:
        if usable:
            programs = _installed(usable)
    except CompileTimeError as error:
        why_not = f"{saved.path!r} holds programs that this machine cannot load ({error})"
    if why_not:
        warn(f"{why_not}: looking for a compiler")
    return programs, why_not


def _instructions(program: SavedProgram) -> str:
    return f"{program.isa}_bf16" if PAIRS_FLAG in program.flags else program.isa


def _installed(programs: list[SavedProgram]) -> CppPrograms:
    """Puts programs of one instruction set into the kernel cache.

    Raises:
      CompileTimeError: one of them cannot be loaded on this machine.
    """
    root = cache_root()
    target = processor_target(programs[0].isa)  # type: ignore[arg-type]
    for program in programs:
        target = replace(target, compiler_id=program.compiler_id)
        made_for = replace(target, flags=program.flags)
        found = install(program.name, program.text, program.library, made_for, root)
        if found.parents[1] != root:  # the cache cannot be written: all of them in one place
            root = found.parents[1]
    return CppPrograms(target=target, cache_dir=root)
