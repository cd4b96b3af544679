"""Kernels without a GPU: the same CUDA C++ text, compiled for the processor with `templates/cuda/emulate.h`.

It is for tests and for looking at a kernel in a debugger: results are those of a GPU, time is not.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from fluxshard.codegen.common.toolchain import compile_source, detect_target
from fluxshard.errors import KernelError, OptionError, ToolchainError
from fluxshard.ir.kernel import Target

Order = Literal["forward", "reverse", "alternate"]

# -O1: a kernel runs a few times, so the time to compile it counts. Sums must not be contracted, or they would depend on
# what is inlined. Kernels read rows of one type as granules of another, as CUDA compilers allow.
_FLAGS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-fopenmp",
    "-xc++",  # whatever the file is called
    "-DFS_EMULATE",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-strict-aliasing",
    "-w",
)
_SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


@dataclass(frozen=True)
class EmulatorTarget:
    """Compiler and settings of emulated kernels.

    Attributes:
      compiler: command, found or from the environment variable CXX.
      compiler_id: first line that the compiler prints of its version; part of the cache key.
      flags: what it is called with.
      sanitize: memory and undefined behaviour are checked; the process has to be started with `sanitizer_environment`.
      order: in which order threads and blocks run; not in the binary.
    """

    compiler: str
    compiler_id: str
    flags: tuple[str, ...]
    sanitize: bool
    order: Order


def detect_emulator(sanitize: bool = False) -> EmulatorTarget:
    """The target of this machine.

    Args:
      sanitize: compile with AddressSanitizer and UndefinedBehaviorSanitizer.

    Raises:
      ToolchainError: there is no C++ compiler, or it is not the one that sanitized kernels need.
      OptionError: `FLUXSHARD_EMULATOR_ORDER` has a value that is not allowed.
    """
    host = detect_target()
    if sanitize and "clang" in host.compiler_id:
        raise ToolchainError(f"sanitized kernels need g++, not {host.compiler_id}: unset CXX or set CXX=g++")
    vectors = () if host.isa == "portable" else ("-mavx2", "-mfma")
    flags = (*_FLAGS, *vectors, *(_SANITIZE if sanitize else ()))
    return EmulatorTarget(host.compiler, host.compiler_id, flags, sanitize, emulator_order())


def emulator_order() -> Order:
    """`FLUXSHARD_EMULATOR_ORDER`, or "alternate".

    Raises:
      OptionError: it has a value that is not allowed.
    """
    seen = os.environ.get("FLUXSHARD_EMULATOR_ORDER") or "alternate"
    for order in get_args(Order):
        if seen == order:
            return order  # type: ignore[no-any-return]
    raise OptionError(f"FLUXSHARD_EMULATOR_ORDER (={seen!r}) must be one of {', '.join(get_args(Order))}")


def sanitizer_environment(target: EmulatorTarget) -> dict[str, str]:
    """Environment variables that a process needs to load kernels of a target with `sanitize`.

    Raises:
      ToolchainError: the compiler has no AddressSanitizer.
    """
    libraries = []
    for name in ("libasan.so", "libstdc++.so"):
        command = (*target.compiler.split(), f"-print-file-name={name}")
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if not Path(found).is_absolute():
            raise ToolchainError(f"{target.compiler} has no {name}: install it, use g++, or emulate without sanitize")
        libraries.append(str(Path(found).resolve()))
    # Python leaks on purpose, and its own allocator hides overruns
    return {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
    }


def emulation_header() -> str:
    """The text of `emulate.h`, complete: nothing of the package has to lie beside it."""
    folder = resources.files("fluxshard.codegen") / "templates" / "cuda"
    text, threads = ((folder / name).read_text() for name in ("emulate.h", "emulate_warp.h"))
    return text.replace('#include "emulate_warp.h"\n', threads.replace("#pragma once\n", ""))


def compile_emulated(source: Path, output: Path, target: EmulatorTarget) -> None:
    """Compiles one unit to a shared library.

    Args:
      source: with the headers that it includes beside it.
      output: the library.
      target: from `detect_emulator`.

    Raises:
      CompileError: the compiler failed or is not there any more; the source stays where it is.
    """
    host = Target(
        isa="portable", vector_floats=4, registers=16,
        compiler=target.compiler, compiler_id=target.compiler_id, flags=target.flags,
    )  # fmt: skip
    compile_source(source, output, host)


def compile_into(directory: Path, text: str, name: str, target: EmulatorTarget, headers: Mapping[str, str]) -> Path:
    """Writes a unit and its headers into a directory, compiles it and returns the library.

    Args:
      directory: where to write; it must exist.
      text, name, target, headers: as for `build_emulated`.

    Raises:
      CompileError: the compiler refused the text.
    """
    for header, body in headers.items():
        (directory / header).write_text(body)
    source, output = directory / f"{name}.cpp", directory / f"{name}.so"
    source.write_text(text)
    compile_emulated(source, output, target)
    return output


def build_emulated(text: str, name: str, target: EmulatorTarget, headers: Mapping[str, str]) -> bytes:
    """The shared library of one unit.

    Args:
      text: one kernel, which ends with FS_EXPORT.
      name: of the kernel; only for messages.
      target: from `detect_emulator`.
      headers: file name -> text of what the unit includes: {"emulate.h": emulation_header()} and its own.

    Raises:
      CompileError: the compiler refused the text; its directory is kept.
    """
    directory = Path(tempfile.mkdtemp(prefix="fluxshard-"))
    library = compile_into(directory, text, name, target, headers).read_bytes()  # an error names the source: it stays
    shutil.rmtree(directory, ignore_errors=True)
    return library


class EmulatedKernel:
    """One compiled kernel, loaded.

    Attributes:
      path: the shared library.
      name: of the kernel; only for messages.
      args_bytes: size of its argument.

    Raises:
      ToolchainError: see `__init__`.
    """

    def __init__(self, path: Path, name: str, order: Order | None = None) -> None:
        """Loads a library.

        Args:
          path: what `compile_emulated` made.
          name: of the kernel.
          order: in which order threads and blocks run; None reads `FLUXSHARD_EMULATOR_ORDER`.

        Raises:
          ToolchainError: it was compiled with sanitizers, and the process was started without.
        """
        self.path = path
        self.name = name
        if b"__asan_init" in path.read_bytes() and not hasattr(ctypes.CDLL(None), "__asan_init"):
            raise ToolchainError(  # loading it would end the process
                f"kernel {name} was compiled with sanitizers and this process runs without: start Python with the "
                "variables of sanitizer_environment(target), or use detect_emulator(sanitize=False)"
            )
        self._library = ctypes.CDLL(str(path))
        self._library.fs_error.restype = ctypes.c_char_p
        self._library.fs_launch.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p]
        for function in (self._library.fs_poison, self._library.fs_unpoison):
            function.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
            function.restype = None
        self._order = get_args(Order).index(order or emulator_order())
        self.args_bytes = int(self._library.fs_args_bytes())

    def launch(self, blocks: int, threads: int, shared_bytes: int, args: bytes | ctypes.Structure) -> None:
        """Runs the kernel to its end.

        Args:
          blocks: of the grid.
          threads: of a block, a multiple of 32.
          shared_bytes: dynamic shared memory of a block.
          args: the kernel's argument.

        Raises:
          KernelError: `args` has another size than the kernel's argument, or the kernel did what CUDA forbids.
        """
        data = args if isinstance(args, bytes) else bytes(args)
        if len(data) != self.args_bytes:
            raise KernelError(
                f"kernel {self.name} takes an argument of {self.args_bytes} bytes, not {len(data)}: the structure "
                "here and the one in its source have to have the same fields"
            )
        self._library.fs_set_order(self._order)  # whoever loads this file again shares the library
        if self._library.fs_launch(blocks, threads, shared_bytes, data):
            raise KernelError(self._library.fs_error().decode(errors="replace"))

    def poison(self, address: int, size_bytes: int) -> None:
        """Makes every access to a range an error, where kernels are compiled with sanitizers."""
        self._library.fs_poison(address, size_bytes)

    def unpoison(self, address: int, size_bytes: int) -> None:
        """Allows access to a range again."""
        self._library.fs_unpoison(address, size_bytes)
