"""What compiles kernels, and where they are kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fluxshard.codegen.common.cache import cache_root
from fluxshard.codegen.common.toolchain import ISAS, compile_source, detect_target, multiplies_pairs, processor_has
from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
from fluxshard.codegen.cuda.device.driver import device_of
from fluxshard.diagnostics.check import Check
from fluxshard.errors import CompileError, FluxShardError, ToolchainError

# what generated code uses of a compiler: C++17, its vectors and its threads
_PROBE = """
#include <atomic>
#include <thread>
typedef float v4 __attribute__((vector_size(16)));
extern "C" float probe(float x) {
  std::atomic<int> n{0};
  std::thread([&] { ++n; }).join();
  const v4 v = x + v4{};
  return v[0] * n;
}
"""


def check_compiler() -> Check:
    """Whether there is a C++ compiler that builds what generated code needs, and the vector instructions it is for."""
    name = "c++ compiler"
    try:
        target = detect_target()
    except ToolchainError as error:
        return Check(name=name, status="missing", seen=str(error))
    seen = f"{target.compiler_id}, {target.isa}"
    with tempfile.TemporaryDirectory(prefix="fluxshard-") as directory:
        source = Path(directory) / "probe.cpp"
        source.write_text(_PROBE, encoding="ascii")
        try:
            compile_source(source, source.with_suffix(".so"), target)
        except CompileError as error:
            first = (error.log.strip().splitlines() or [str(error)])[0].replace(directory, "")
            advice = "install its C++ headers and threads (Debian: apt install g++)"
            # without a compiler there is the reference backend; a compiler that fails is taken, and stops everything
            return Check(
                name=name, status="missing", seen=f"{seen} cannot build ({first})", advice=advice, required=True
            )
    if target.isa == "portable" and os.uname().machine == "x86_64":
        return Check(name=name, status="warn", seen=seen, advice="this processor has no AVX2, so frames take longer")
    return Check(name=name, status="ok", seen=seen)


def check_instructions() -> Check:
    """Which instruction sets generated code may use here, and whether bfloat16 is fast."""
    has = processor_has()
    seen = f"{', '.join(isa for isa in ISAS if isa in has)}, the best first"
    if multiplies_pairs():
        return Check(name="instruction sets", status="ok", seen=f"{seen}; bfloat16 is multiplied (AVX512_BF16)")
    note = "bfloat16 saves memory, not time: no AVX512_BF16"
    return Check(name="instruction sets", status="ok", seen=f"{seen}; {note}")


def check_nvrtc() -> Check:
    """Whether NVRTC is there, and fits the driver and the GPU where there are any."""
    try:
        nvrtc = Nvrtc()
    except ToolchainError as error:
        return Check(name="nvrtc", status="missing", seen=str(error))
    seen = f"{nvrtc.identity}, sm_{nvrtc.arches[0]} to sm_{nvrtc.arches[-1]}" if nvrtc.arches else nvrtc.identity
    try:
        gpu = device_of(0)
    except FluxShardError:
        return Check(name="nvrtc", status="ok", seen=seen)
    try:
        nvrtc.check_arch(f"sm_{gpu.capability[0]}{gpu.capability[1]}")
    except ToolchainError as error:
        return Check(name="nvrtc", status="warn", seen=str(error))
    if nvrtc.version[0] > gpu.driver_version[0]:
        driver = ".".join(map(str, gpu.driver_version))
        advice = "update the driver, or pip install 'nvidia-cuda-nvrtc-cu12<13' instead of nvidia-cuda-nvrtc"
        return Check(name="nvrtc", status="warn", seen=f"{seen}; the driver is for CUDA {driver}", advice=advice)
    return Check(name="nvrtc", status="ok", seen=seen)


def check_cache(directory: Path | None = None) -> Check:
    """Whether the kernel cache can be written, and its size. A directory that does not exist is not made.

    Args:
      directory: instead of `FLUXSHARD_CACHE_DIR`.
    """
    directory = directory or cache_root()
    existing = next((path for path in (directory, *directory.parents) if path.exists()), directory)
    entries, size = _contents(directory)
    seen = f"{directory}, {entries} entries, {size / 1e6:.1f} MB"
    try:
        # what a mount or a quota forbids, permissions do not tell
        with tempfile.TemporaryFile(dir=existing):
            return Check(name="kernel cache", status="ok", seen=seen)
    except OSError as error:
        return Check(
            name="kernel cache",
            status="warn",
            seen=f"{directory} cannot be written ({error.strerror or error})",
            advice="every process compiles anew; set FLUXSHARD_CACHE_DIR to a directory that can be written",
        )


def _contents(directory: Path) -> tuple[int, int]:
    """Number of entries, and bytes of all files; what cannot be read does not count."""
    size = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            try:
                size += os.lstat(os.path.join(folder, file)).st_size
            except OSError:
                continue
    try:
        return sum(entry.is_dir() and not entry.name.startswith(".") for entry in os.scandir(directory)), size
    except OSError:
        return 0, size
