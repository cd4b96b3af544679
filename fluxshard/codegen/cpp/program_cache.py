"""Generated C++ programs in the kernel cache."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fluxshard.codegen.common.cache import META, SCHEMA, Entry, cache_root, find, find_or_build
from fluxshard.codegen.common.toolchain import compile_source, with_compiler
from fluxshard.errors import CompileTimeError, ToolchainError
from fluxshard.ir.kernel import Target

_SOURCE, _LIBRARY = "step.cpp", "step.so"


def key_of(text: str, target: Target) -> str:
    """16 hex digits that stand for this C++ source, compiler and flags."""
    return _step("", text, target).key


def get_or_build(name: str, text: str, target: Target, root: Path | None = None) -> Path:
    """The shared library for a source text: from the cache, or compiled into it.

    Args:
      name: for people who look into the cache.
      text: C++ source.
      target: compiler and flags. Without a compiler, the cache is searched first, for what any compiler made of the
        text with these flags; only then is a compiler looked for.
      root: instead of `cache_root()`.

    Raises:
      MissingKernelError: `FLUXSHARD_NO_COMPILE=1` and there is no entry.
      ToolchainError: there is neither an entry nor a compiler.
      CompileError: the compiler refused the source.
    """
    if target.compiler:
        return find_or_build(_step(name, text, target), root)
    found = find_program(name, text, target, root)
    if found is not None:
        return found
    place = root or cache_root()
    try:
        target = with_compiler(target)
    except ToolchainError as error:
        raise ToolchainError(f"kernels of {name} for {target.isa} are not in {place}, and {error}") from error
    return find_or_build(_step(name, text, target), root)


def find_program(name: str, text: str, target: Target, root: Path | None = None) -> Path | None:
    """The shared library that any compiler made of a text, from the cache; None where there is none.

    Args:
      name, text, root: as for `get_or_build`.
      target: flags, and the compiler that is preferred.
    """
    root = root or cache_root()
    made_by = [target.compiler_id] if target.compiler_id else []
    for path in sorted(root.glob(f"{name}-{'?' * 16}/{META}")):
        try:
            made_by.append(str(json.loads(path.read_text())["compiler"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not an entry, or a damaged one
    # an entry is another program's unless its key stands for this text: the name is only where to look
    for compiler_id in dict.fromkeys(made_by):
        found = find(_step(name, text, replace(target, compiler_id=compiler_id)), root)
        if found is not None:
            return found
    return None


def install(name: str, text: str, library: bytes, target: Target, root: Path | None = None) -> Path:
    """A shared library that was compiled elsewhere, as an entry of the cache; one that is there already stays.

    Args:
      name, text, root: as for `get_or_build`.
      library: the compiled text.
      target: flags, and the compiler that made it.

    Returns:
      the library in the cache; in a temporary directory of this process where the cache cannot be written.

    Raises:
      CompileTimeError: the library cannot be loaded on this machine.
    """

    def build(directory: Path) -> Mapping[str, object]:
        (directory / _LIBRARY).write_bytes(library)
        (directory / _LIBRARY).chmod(0o755)
        try:
            ctypes.CDLL(str(directory / _LIBRARY))
        except OSError as error:
            raise CompileTimeError(f"{name}: the compiled program cannot be loaded here ({error})") from error
        return _made_by(target)

    return find_or_build(replace(_step(name, text, target), build=build), root, compiles=False)


def _step(name: str, text: str, target: Target) -> Entry:
    def build(directory: Path) -> Mapping[str, object]:
        compile_source(directory / _SOURCE, directory / _LIBRARY, target)
        return _made_by(target)

    return Entry(
        name=name,
        identity={"schema": SCHEMA, "text": text, "flags": target.flags, "compiler": target.compiler_id},
        sources={_SOURCE: text},
        artefact=_LIBRARY,
        build=build,
        validate=lambda path, meta: ctypes.CDLL(str(path)),
    )


def _made_by(target: Target) -> Mapping[str, object]:
    return {"compiler": target.compiler_id, "flags": target.flags}
