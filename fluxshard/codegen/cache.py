"""Compiled code on disk, found again by its content.

The key is a digest of everything that decides the binary: the source text, the flags and the compiler. An entry is a
directory that appears in one rename, so readers never see half of one; anything wrong with it makes it a miss.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from fluxshard.codegen.toolchain import compile_source
from fluxshard.errors import CacheError, CompileError, MissingKernelError
from fluxshard.ir.kernel import Target

SCHEMA = 1


def cache_root() -> Path:
    """`FLUXSHARD_CACHE_DIR`, or `~/.cache/fluxshard`."""
    return Path(os.environ.get("FLUXSHARD_CACHE_DIR") or Path.home() / ".cache" / "fluxshard")


def key_of(text: str, target: Target) -> str:
    """16 hex digits that stand for this source, compiler and flags."""
    body = {"schema": SCHEMA, "text": text, "flags": target.flags, "compiler": target.compiler_id}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def get_or_build(name: str, text: str, target: Target, root: Path | None = None) -> Path:
    """The shared library for a source text: from the cache, or compiled into it.

    Processes that race for one entry all succeed, and one entry is left. Where the cache cannot be written, the library
    is built in a temporary directory of this process, with a warning.

    Args:
      name: for people who look into the cache.
      text: C++ source.
      target: compiler and flags.
      root: instead of `cache_root()`.

    Raises:
      MissingKernelError: `FLUXSHARD_NO_COMPILE=1` and there is no entry.
      CompileError: the compiler refused the source.
    """
    root = root or cache_root()
    key = key_of(text, target)
    entry = root / f"{name}-{key}"
    found = _valid(entry, key)
    if found is not None:
        return found
    if os.environ.get("FLUXSHARD_NO_COMPILE") == "1":
        raise MissingKernelError(
            f"kernels of {name} ({key}) are not in {root} and FLUXSHARD_NO_COMPILE=1 forbids compiling: unset it, "
            "or run the model once where compiling is allowed and copy the cache"
        )
    try:
        return _build(entry, key, text, target)
    except CacheError as error:
        warnings.warn(f"{error}; compiling into a temporary directory", RuntimeWarning, stacklevel=3)
        private = Path(tempfile.mkdtemp(prefix="fluxshard-"))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        return _build(private / entry.name, key, text, target)


def _valid(entry: Path, key: str) -> Path | None:
    """The library of a complete and loadable entry. Never raises for what is wrong with one."""
    library = entry / "step.so"
    try:
        meta = json.loads((entry / "meta.json").read_text())
        if meta["key"] != key or meta["sha256"] != hashlib.sha256(library.read_bytes()).hexdigest():
            return None
        ctypes.CDLL(str(library))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return library


def _build(entry: Path, key: str, text: str, target: Target) -> Path:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
        source = work / "step.cpp"
        source.write_text(text)
    except OSError as error:
        raise CacheError(f"kernel cache {entry.parent} cannot be written ({error}): set FLUXSHARD_CACHE_DIR") from error
    try:
        compile_source(source, work / "step.so", target)
        digest = hashlib.sha256((work / "step.so").read_bytes()).hexdigest()
        meta = {"key": key, "sha256": digest, "compiler": target.compiler_id, "flags": target.flags}
        (work / "meta.json").write_text(json.dumps(meta, indent=1))
    except CompileError:
        raise  # the directory stays: it holds the source that the message names
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise CacheError(f"kernel cache {entry.parent} cannot be written ({error}): set FLUXSHARD_CACHE_DIR") from error
    for _ in range(3):
        try:
            work.rename(entry)
            return entry / "step.so"
        except OSError:  # somebody was faster, or the entry is damaged
            found = _valid(entry, key)
            if found is not None:
                shutil.rmtree(work, ignore_errors=True)
                return found
            broken = Path(tempfile.mkdtemp(prefix=f".{entry.name}-broken-", dir=entry.parent))
            with contextlib.suppress(OSError):  # somebody else has moved it away
                entry.rename(broken / "entry")
            shutil.rmtree(broken, ignore_errors=True)
    return work / "step.so"
