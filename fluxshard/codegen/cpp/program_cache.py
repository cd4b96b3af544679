"""Generated C++ programs in the kernel cache."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

from fluxshard.codegen.common.cache import SCHEMA, Entry, find_or_build
from fluxshard.codegen.common.toolchain import compile_source
from fluxshard.ir.kernel import Target


def key_of(text: str, target: Target) -> str:
    """16 hex digits that stand for this C++ source, compiler and flags."""
    return _step("", text, target).key


def get_or_build(name: str, text: str, target: Target, root: Path | None = None) -> Path:
    """The shared library for a source text: from the cache, or compiled into it.

    Args:
      name: for people who look into the cache.
      text: C++ source.
      target: compiler and flags.
      root: instead of `cache_root()`.

    Raises:
      MissingKernelError: `FLUXSHARD_NO_COMPILE=1` and there is no entry.
      CompileError: the compiler refused the source.
    """
    return find_or_build(_step(name, text, target), root)


def _step(name: str, text: str, target: Target) -> Entry:
    def build(directory: Path) -> Mapping[str, object]:
        compile_source(directory / "step.cpp", directory / "step.so", target)
        return {"compiler": target.compiler_id, "flags": target.flags}

    return Entry(
        name=name,
        identity={"schema": SCHEMA, "text": text, "flags": target.flags, "compiler": target.compiler_id},
        sources={"step.cpp": text},
        artefact="step.so",
        build=build,
        validate=lambda path, meta: ctypes.CDLL(str(path)),
    )
