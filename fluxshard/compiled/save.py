"""Writes compiled models: gathers plans, weights and the programs that sessions of them load."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fluxshard.backends import CppPrograms, cpp_programs, stored_type
from fluxshard.codegen.common.toolchain import processor_target
from fluxshard.codegen.cpp import build_step
from fluxshard.codegen.cpp.image_test import build_image_test, image_test_params
from fluxshard.codegen.cpp.motion.block_search import BlockSearchParams, build_block_search
from fluxshard.compiled.lowered import Lowered
from fluxshard.errors import CompileError, CompileTimeError, OptionError, ProfileError, ToolchainError, warn
from fluxshard.ir.kernel import cpu_type
from fluxshard.ir.plan import Plan
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.saved import plain_outputs
from fluxshard.options import CompileOptions, Isa, PlannedOptions
from fluxshard.runtime.planned.levels import levels_of
from fluxshard.runtime.threshold_profile import ThresholdProfile
from fluxshard.saved.saved_model import SavedModel, SavedProgram, SavedSize, write_saved
from fluxshard.saved.weights import array_of


def save_model(
    sizes: Sequence[Lowered],
    options: CompileOptions,
    path: Path,
    *,
    loaded: LoadedModel | None,
    profile: ThresholdProfile | None,
    isas: Sequence[Isa],
    programs: CppPrograms | None,
    overwrite: bool,
) -> SavedModel:
    """See `CompiledModel.save`.

    Args:
      sizes: what was compiled, the latest last.
      options: of the model, with the backend that runs it and the type that it stores.
      path, loaded, profile, isas, overwrite: as there.
      programs: where the model's own programs come from; None: from this machine's compiler and kernel cache.
    """
    check_free(path, overwrite)
    if profile is not None:
        _check_profile(profile, options, sizes)
    found: dict[tuple[str, str], SavedProgram] = {}
    for source in _sources(options, isas, programs):
        try:
            for size in sizes:
                for library in _libraries(size.plan, options, profile, source):
                    program = _program(library, source.target.isa)
                    found[program.isa, program.text] = program
            for library in _block_search(source):
                program = _program(library, source.target.isa)
                found[program.isa, program.text] = program
        except ToolchainError as error:
            if options.backend != "cuda":
                raise
            # beside a GPU only the image test is C++, which numpy does where there is no compiler
            warn(f"no C++ programs are kept: {error}")
    saved = SavedModel(
        # tiles that were measured here mean nothing elsewhere: a file holds the programs of the rule
        options=replace(options, dump_dir=None, autotune=options.autotune and options.backend != "cpp"),
        sizes=tuple(
            SavedSize(
                plan=size.plan,
                weights={name: array_of(name, tensor) for name, tensor in size.weights.items()},
                dense_macs=size.dense_macs,
            )
            for size in sizes
        ),
        programs=tuple(found.values()),
        profile=None if profile is None else profile.plain(),
        outputs=None if loaded is None else plain_outputs(loaded),
        facts={"fluxshard": _version(), "torch": torch.__version__, "machine": platform.machine()},
    )
    write_saved(saved, path)
    return saved


def check_free(path: Path, overwrite: bool) -> None:
    """Raises OptionError unless a file may be written to the path."""
    if path.is_dir():
        raise OptionError(f"{str(path)!r} is a directory; give the name of a file")
    if path.exists() and not overwrite:
        raise OptionError(f"{str(path)!r} exists; give another name, or overwrite it (overwrite=True, --overwrite)")
    if not path.parent.is_dir():
        raise OptionError(f"{str(path)!r}: the directory {str(path.parent)!r} does not exist")


def _check_profile(profile: ThresholdProfile, options: CompileOptions, sizes: Sequence[Lowered]) -> None:
    if profile.canvas_px != options.canvas_px:
        raise OptionError(
            f"the profile was found with canvas_px={profile.canvas_px}, and the model is compiled with "
            f"{options.canvas_px}: compile it with CompileOptions(canvas_px={profile.canvas_px})"
        )
    for size in sizes:
        try:
            profile.check(size.plan, size.weights)
        except ProfileError as error:
            raise ProfileError(f"{error}; nothing was written") from error


def _sources(options: CompileOptions, isas: Sequence[Isa], programs: CppPrograms | None) -> Iterator[CppPrograms]:
    """Where the programs of each instruction set come from."""
    if options.backend in ("reference", "emulated"):
        return  # they compile nothing that a file could hold
    own = programs or cpp_programs(options.isa)
    for isa in dict.fromkeys(isas or (own.target.isa,)):
        if isa == own.target.isa or (isa == "native" and processor_target().isa == own.target.isa):
            yield own
        else:
            yield cpp_programs(isa)  # type: ignore[arg-type]


def _libraries(
    plan: Plan, options: CompileOptions, profile: ThresholdProfile | None, source: CppPrograms
) -> Iterator[Path]:
    """The compiled programs of a plan, from the kernel cache or compiled into it."""
    if options.backend == "cpp":
        step = build_step(plan, source.storing(cpu_type(stored_type("cpu", options))), source.cache_dir)
        yield step.path
        yield step.input_program().path
    image, channels = plan.grids[0], plan.value(plan.input).channels
    for planned in (PlannedOptions(), *(() if profile is None else (profile.reuse.planned,))):
        params = image_test_params(image, channels, levels_of(plan, planned), plan.grids)
        yield build_image_test(params, source.target, source.cache_dir).path


def _block_search(source: CppPrograms) -> Iterator[Path]:
    """The program that finds motion where a video has none, for all sizes; models run without it, by an encoder's."""
    try:
        yield build_block_search(BlockSearchParams(), source.target, source.cache_dir).path
    except CompileError:
        raise
    except CompileTimeError as error:  # the model came from a file that has none
        warn(f"no search of motion is kept for {source.target.isa}: {error}")


def _program(library: Path, isa: str) -> SavedProgram:
    """An entry of the kernel cache, as `codegen.cpp.program_cache` lays it out."""
    folder = library.parent
    meta: Mapping[str, object] = json.loads((folder / "meta.json").read_text())
    flags = meta["flags"]
    assert isinstance(flags, list)
    return SavedProgram(
        name=folder.name.rpartition("-")[0],
        isa=isa,
        machine=platform.machine(),
        compiler_id=str(meta["compiler"]),
        flags=tuple(flags),
        text=(folder / "step.cpp").read_text(encoding="utf-8"),
        library=library.read_bytes(),
    )


def _version() -> str:
    from fluxshard import __version__

    return __version__
