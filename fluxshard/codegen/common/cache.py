"""Compiled code on disk, found again by its content.

The key is a digest of everything that decides the binary: the source text, the flags and the compiler. An entry is a
directory that appears in one rename, so readers never see half of one; anything wrong with it makes it a miss.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxshard.errors import CacheError, CompileError, MissingKernelError, warn

SCHEMA = 1
META = "meta.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that is compiled once and kept.

    Attributes:
      name: for people who look into the cache.
      identity: everything that decides the binary, as JSON has it; the key is its digest.
      sources: file name -> text of what is compiled; they lie beside the artefact.
      artefact: file name of what is built.
      build: makes `directory / artefact` from the sources in a directory; what it returns is kept in meta.json. On a
        CompileError the directory stays, for its sources.
      validate: looks at an artefact and its meta.json; OSError, ValueError, KeyError or TypeError make it a miss.
    """

    name: str
    identity: Mapping[str, object]
    sources: Mapping[str, str]
    artefact: str
    build: Callable[[Path], Mapping[str, object]]
    validate: Callable[[Path, Mapping[str, Any]], object]

    @property
    def key(self) -> str:
        """16 hex digits that stand for the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def directory(self) -> str:
        """Name of its directory in the cache."""
        return f"{self.name}-{self.key}"


def cache_root() -> Path:
    """`FLUXSHARD_CACHE_DIR`, or `~/.cache/fluxshard`."""
    return Path(os.environ.get("FLUXSHARD_CACHE_DIR") or Path.home() / ".cache" / "fluxshard")


def compiling_is_forbidden() -> bool:
    """Whether `FLUXSHARD_NO_COMPILE=1`."""
    return os.environ.get("FLUXSHARD_NO_COMPILE") == "1"


def find_or_build(entry: Entry, root: Path | None = None, *, compiles: bool = True) -> Path:
    """The artefact of an entry: from the cache, or built into it.

    Processes that race for one entry all succeed, and one entry is left. Where the cache cannot be written, the
    artefact is built in a temporary directory of this process, with a warning.

    Args:
      entry: what is wanted.
      root: instead of `cache_root()`.
      compiles: building runs a compiler, which `FLUXSHARD_NO_COMPILE=1` forbids.

    Raises:
      MissingKernelError: `FLUXSHARD_NO_COMPILE=1` and there is no entry.
      CompileError: the compiler refused the source; the message names the file.
    """
    root = root or cache_root()
    found = find(entry, root)
    if found is not None:
        return found
    if compiles and compiling_is_forbidden():
        raise MissingKernelError(
            f"kernels of {entry.name} ({entry.key}) are not in {root} and FLUXSHARD_NO_COMPILE=1 forbids compiling: "
            "unset it, or run the model once where compiling is allowed and copy the cache"
        )
    try:
        return _build(root, entry)
    except CacheError as error:
        warn(f"{error}; {'compiling' if compiles else 'writing'} into a temporary directory")
        private = Path(tempfile.mkdtemp(prefix="fluxshard-"))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        return _build(private, entry)


def find(entry: Entry, root: Path) -> Path | None:
    """The artefact of a complete and usable entry, or None. Never raises for what is wrong with one."""
    artefact = root / entry.directory / entry.artefact
    try:
        meta = json.loads((artefact.parent / META).read_text())
        if meta["key"] != entry.key or meta["sha256"] != hashlib.sha256(artefact.read_bytes()).hexdigest():
            return None
        entry.validate(artefact, meta)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return artefact


def _build(root: Path, entry: Entry) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{entry.directory}-", dir=root))
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        for file, text in entry.sources.items():
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).write_text(text, encoding="utf-8")
        said = entry.build(work)
        digest = hashlib.sha256((work / entry.artefact).read_bytes()).hexdigest()
        (work / META).write_text(json.dumps({"key": entry.key, "sha256": digest, **said}, indent=1))
    except CompileError:
        raise  # the directory stays: it holds the source that the message names
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, OSError):
            raise _unwritable(root, error) from error
        raise
    place = root / entry.directory
    for _ in range(3):
        try:
            work.rename(place)
            return place / entry.artefact
        except OSError:  # somebody was faster, or the entry is damaged
            found = find(entry, root)
            if found is not None:
                shutil.rmtree(work, ignore_errors=True)
                return found
            broken = Path(tempfile.mkdtemp(prefix=f".{entry.directory}-broken-", dir=root))
            with contextlib.suppress(OSError):  # somebody else has moved it away
                place.rename(broken / "entry")
            shutil.rmtree(broken, ignore_errors=True)
    return work / entry.artefact


def _unwritable(root: Path, error: OSError) -> CacheError:
    return CacheError(f"kernel cache {root} cannot be written ({error}): set FLUXSHARD_CACHE_DIR")
