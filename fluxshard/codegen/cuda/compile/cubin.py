"""Kernels compiled for a GPU, from the cache or by NVRTC."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fluxshard.codegen.common.cache import SCHEMA, Entry, find_or_build
from fluxshard.codegen.cuda.compile.nvrtc import OPTIONS, Nvrtc
from fluxshard.codegen.cuda.compile.resources import Resources, parse_ptxas
from fluxshard.errors import CompileError


@dataclass(frozen=True, slots=True)
class Cubin:
    """One kernel as machine code.

    Attributes:
      code: what the driver loads.
      path: where it lies in the cache, with its source beside it.
      resources: what the kernel needs.
    """

    code: bytes
    path: Path
    resources: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One kernel to compile.

    Attributes:
      name: of the entry function.
      text: CUDA C++.
      arch: "sm_86", say.
      headers: name in an #include -> text.
    """

    name: str
    text: str
    arch: str
    headers: Mapping[str, str] = field(default_factory=dict)


def get_or_build_cubin(
    name: str, text: str, headers: Mapping[str, str], arch: str, root: Path | None = None, nvrtc: Nvrtc | None = None
) -> Cubin:
    """A kernel from the cache, or compiled into it. Threads may call this at the same time.

    Args:
      name: of the entry function.
      text: CUDA C++.
      headers: name in an #include -> text.
      arch: "sm_86", say.
      root: instead of `cache_root()`.
      nvrtc: the compiler; None finds it. It is needed for a hit as well: its version is part of the key.

    Raises:
      ToolchainError: no NVRTC, or one that does not compile for `arch`.
      MissingKernelError: `FLUXSHARD_NO_COMPILE=1` and there is no entry.
      CompileError: the compiler refused the source, or it has no kernel of this name; `kernel` is the name.
    """
    compiler = nvrtc or Nvrtc()

    def build(directory: Path) -> Mapping[str, object]:
        source = directory / "kernel.cu"
        code, log = compiler.compile_cubin(text, f"{name}.cu", arch, headers, source)
        # a section for each kernel, whatever this version calls its resources
        if f".text.{name}\0".encode() not in code:
            raise CompileError(
                f"no kernel {name} in generated code, but {', '.join(parse_ptxas(log)) or 'none'}: it has to be "
                f'extern "C" __global__; source kept in {source}',
                command=(f"--gpu-architecture={arch}", *OPTIONS),
                log=log,
                source_path=source,
            )
        (directory / "kernel.cubin").write_bytes(code)
        resources = parse_ptxas(log).get(name, Resources())
        return {"compiler": compiler.identity, "flags": OPTIONS, "arch": arch, "resources": asdict(resources)}

    identity = {"schema": SCHEMA, "kind": "cubin", "name": name, "text": text, "headers": dict(headers)}
    entry = Entry(
        name=name,
        identity={**identity, "arch": arch, "flags": OPTIONS, "compiler": compiler.identity},
        sources={"kernel.cu": text, **headers},
        artefact="kernel.cubin",
        build=build,
        validate=_resources,
    )
    try:
        path = find_or_build(entry, root)
    except CompileError as error:
        error.kernel = name
        raise
    meta = json.loads((path.parent / "meta.json").read_text())
    return Cubin(path.read_bytes(), path, _resources(path, meta))


def compile_many(jobs: Sequence[Job], root: Path | None = None, workers: int | None = None) -> tuple[Cubin, ...]:
    """Kernels in the order of jobs, compiled in threads; see `nvrtc` for why not in processes.

    Args:
      jobs: what to compile.
      root: instead of `cache_root()`.
      workers: threads; None takes one per processor.

    Raises:
      ToolchainError, MissingKernelError, CompileError: see `get_or_build_cubin`; of the first job that fails. Jobs
        that had not begun are dropped.
    """
    nvrtc = Nvrtc()
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        futures = [
            pool.submit(get_or_build_cubin, job.name, job.text, job.headers, job.arch, root, nvrtc) for job in jobs
        ]
        return tuple(future.result() for future in futures)
    finally:
        pool.shutdown(cancel_futures=True)


def _resources(path: Path, meta: Mapping[str, Any]) -> Resources:
    return Resources(**{key: int(value) for key, value in dict(meta["resources"]).items()})
