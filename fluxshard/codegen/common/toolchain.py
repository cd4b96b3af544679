"""Finding a compiler and the processor's vector instructions, and running the compiler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from fluxshard.errors import CompileError, ToolchainError
from fluxshard.ir.kernel import PAIRS_FLAG, CpuDType, Target
from fluxshard.options import Isa

ISAS: tuple[Isa, ...] = ("avx512", "avx2", "portable")  # the best first
_COMPILERS = ("g++", "clang++", "c++")
_VECTORS = {
    "avx512": (16, 32, ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512")),
    "avx2": (8, 16, ("-mavx2", "-mfma")),
    "portable": (4, 16, ()),
}
# no -ffast-math: NaN, infinity and the order of sums are part of what is promised
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-fopenmp-simd",
    "-pthread",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-w",
)


def detect_target(isa: Isa = "native", dtype: CpuDType = "float32") -> Target:
    """The target of this machine.

    Args:
      isa: instructions to generate; "native" takes the best that the processor has.
      dtype: storage type of features.

    Raises:
      ToolchainError: there is no C++ compiler, or the processor lacks what `isa` names.
    """
    return with_compiler(processor_target(isa, dtype))


def processor_target(isa: Isa = "native", dtype: CpuDType = "float32") -> Target:
    """The target of this machine without a compiler: no program is run to find it.

    Args:
      isa, dtype: as for `detect_target`.

    Raises:
      ToolchainError: the processor lacks what `isa` names.
    """
    has = processor_has()
    if isa == "native":
        isa = next(name for name in ISAS if name in has)
    if isa not in has:
        raise ToolchainError(f"this processor has no {isa}; it has {', '.join(sorted(has))}: use isa='native'")
    floats, registers, flags = _VECTORS[isa]
    if isa == "portable" and platform.machine() == "aarch64":
        registers = 32
    return Target(
        isa=isa,
        vector_floats=floats,
        registers=registers,
        compiler="",
        compiler_id="",
        flags=(
            *_FLAGS,
            *flags,
            *((PAIRS_FLAG,) if isa == "avx512" and dtype == "bfloat16" and multiplies_pairs() else ()),
        ),
        dtype=dtype,
    )


def with_compiler(target: Target) -> Target:
    """A target with the C++ compiler of this machine.

    Raises:
      ToolchainError: there is none.
    """
    compiler = os.environ.get("CXX", "").strip() or next(filter(shutil.which, _COMPILERS), None)
    if compiler is None or shutil.which(compiler.split()[0]) is None:
        seen = f"CXX={compiler} cannot be run" if compiler else f"none of {', '.join(_COMPILERS)} was found"
        raise ToolchainError(
            f"no C++ compiler: {seen}; install g++ (Debian: apt install g++) or use backend='reference'"
        )
    return replace(target, compiler=compiler, compiler_id=_identity(compiler))


def multiplies_pairs() -> bool:
    """Whether the processor multiplies pairs of bfloat16 numbers at once (AVX512_BF16)."""
    return "avx512_bf16" in _processor_words()


def compile_source(source: Path, output: Path, target: Target) -> None:
    """Compiles one file to a shared library.

    Raises:
      CompileError: the compiler failed or is not there any more; the source stays where it is.
    """
    command = (*target.compiler.split(), *target.flags, str(source), "-o", str(output))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompileError(f"cannot run {command[0]}: {error}", command=command, log="", source_path=source) from error
    if done.returncode or not output.exists():
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:300])
        raise CompileError(
            f"{command[0]} failed on generated code ({first}); source kept in {source}",
            command=command,
            log=done.stderr,
            source_path=source,
        )


def processor_has() -> set[str]:
    """Names of the instruction sets of this processor that code is generated for."""
    found, words = {"portable"}, _processor_words()
    if {"avx2", "fma"} <= words:
        found.add("avx2")
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= words:
        found.add("avx512")
    return found


def _processor_words() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return set()


def _identity(compiler: str) -> str:
    try:
        done = subprocess.run([*compiler.split(), "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"no C++ compiler: {compiler} cannot be run ({error}); install g++ or set CXX") from error
    return (done.stdout.splitlines() or ["unknown"])[0]
