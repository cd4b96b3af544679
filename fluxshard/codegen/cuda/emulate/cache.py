"""Emulated kernels in the kernel cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from fluxshard.codegen.common.cache import SCHEMA, Entry, find_or_build
from fluxshard.errors import CompileError


class EmulatorTarget(Protocol):
    """The part of `cuda.emulate.compiler.EmulatorTarget` that keys the cache."""

    @property
    def compiler_id(self) -> str:
        """First line that the compiler prints of its version."""
        ...

    @property
    def flags(self) -> tuple[str, ...]:
        """Compiler flags."""
        ...


EmulatorTargetT = TypeVar("EmulatorTargetT", bound=EmulatorTarget)


def get_or_build_emulated(
    name: str,
    text: str,
    headers: Mapping[str, str],
    target: EmulatorTargetT,
    compiler: Callable[[Path, Path, EmulatorTargetT], None],
    root: Path | None = None,
) -> Path:
    """The shared library of one CUDA kernel for the emulator: from the cache, or compiled into it.

    Args:
      name: of the kernel.
      text: CUDA C++ source.
      headers: file name -> text of what the source includes; they lie beside it.
      target: compiler and flags.
      compiler: called with source, library and target.
      root: instead of `cache_root()`.

    Raises:
      MissingKernelError: `FLUXSHARD_NO_COMPILE=1` and there is no entry.
      CompileError: the compiler refused the source; `kernel` is the name.
    """

    def build(directory: Path) -> Mapping[str, object]:
        compiler(directory / "kernel.cu", directory / "kernel.so", target)
        return {"compiler": target.compiler_id, "flags": target.flags}

    identity = {"schema": SCHEMA, "kind": "emulated", "text": text, "headers": dict(headers)}
    entry = Entry(
        name=name,
        identity={**identity, "flags": target.flags, "compiler": target.compiler_id},
        sources={"kernel.cu": text, **headers},
        artefact="kernel.so",
        build=build,
        validate=lambda path, meta: None,  # loading a library that has sanitizers in it may end the process
    )
    try:
        return find_or_build(entry, root)
    except CompileError as error:
        error.kernel = name
        raise
