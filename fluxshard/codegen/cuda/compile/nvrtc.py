"""NVRTC, NVIDIA's run-time compiler: CUDA C++ in, machine code for one architecture out. Needs no GPU and no driver.

cuda-bindings gives up the GIL while NVRTC compiles, and NVRTC compiles in several threads at once: on two cores, 60
convolution kernels took 21 s one after another, 11.1 s in two threads and 11.1 s in two processes. So threads do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluxshard.codegen.cuda.bindings import bindings
from fluxshard.errors import CompileError, ToolchainError

# no --use_fast_math: NaN, infinity and accurate functions are part of what is promised
OPTIONS = ("--std=c++17", "-default-device", "--fmad=true", "--ptxas-options=-v")


class Nvrtc:
    """The compiler that this process finds.

    Args:
      module: what is called; None takes `cuda.bindings.nvrtc`.

    Attributes:
      version: major and minor.
      arches: numbers of the architectures that it compiles for, 86 for sm_86, ascending.

    Raises:
      ToolchainError: cuda-bindings is not installed, or it finds no NVRTC.
    """

    def __init__(self, module: Any = None) -> None:
        self._module = module or bindings("nvrtc")
        try:
            major, minor = self._call("nvrtcVersion")
            self.version: tuple[int, int] = (major, minor)
            self.arches: tuple[int, ...] = tuple(self._call("nvrtcGetSupportedArchs"))
        except RuntimeError as error:  # the library is looked for at the first call
            seen = " ".join(str(error).split())[:200]
            raise ToolchainError(
                f"libnvrtc cannot be loaded ({seen}); CUDA kernels need it: pip install 'fluxshard[cuda]'"
            ) from error

    @property
    def identity(self) -> str:
        """Part of the cache key."""
        return f"NVRTC {self.version[0]}.{self.version[1]}"

    def check_arch(self, arch: str) -> None:
        """Raises ToolchainError, with what to install, unless this version compiles for an architecture."""
        number = int(arch.removeprefix("sm_")) if re.fullmatch(r"sm_\d+", arch) else -1
        if number in self.arches:
            return
        seen = f"{self.identity} does not compile for {arch}; it has {', '.join(f'sm_{n}' for n in self.arches)}"
        if number < 0:
            raise ToolchainError(f"{seen}: name one of them")
        if number < 75 and self.version >= (13, 0):  # both can be installed, and the newer one is found first
            raise ToolchainError(
                f"{seen}: {arch} needs NVRTC 12.9 or older: pip uninstall nvidia-cuda-nvrtc, then "
                "pip install 'cuda-bindings<13' 'nvidia-cuda-nvrtc-cu12<13'"
            )
        if number > max(self.arches, default=0):
            raise ToolchainError(f"{seen}: {arch} needs a newer NVRTC: pip install -U 'fluxshard[cuda]'")
        raise ToolchainError(f"{seen}: {arch} needs another version of NVRTC: pip install -U 'fluxshard[cuda]'")

    def compile_cubin(
        self, text: str, name: str, arch: str, headers: Mapping[str, str] | None = None, source_path: Path | None = None
    ) -> tuple[bytes, str]:
        """Compiles one text. Threads may call this at the same time.

        Args:
          text: CUDA C++.
          name: what the compiler calls the text in messages.
          arch: "sm_86", say.
          headers: name in an #include -> text; nothing is read from disk.
          source_path: where the text is kept for reading, for the message of an error.

        Returns:
          the CUBIN, and what the compiler printed, with the resources that kernels need (`resources.parse_ptxas`).

        Raises:
          ToolchainError: this version does not compile for `arch`.
          CompileError: the compiler refused the text.
        """
        self.check_arch(arch)
        options = (f"--gpu-architecture={arch}", *OPTIONS)
        texts = {include.encode(): body.encode() for include, body in (headers or {}).items()}
        program = self._call(
            "nvrtcCreateProgram", text.encode(), name.encode(), len(texts), [*texts.values()], [*texts]
        )
        try:
            status = self._module.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])[0]
            log = self._read("ProgramLog", program).decode(errors="replace").rstrip("\0 \n")
            if int(status):
                first = next((line for line in log.splitlines() if "error" in line), log[:300]) or status.name
                kept = f"; source kept in {source_path}" if source_path else ""
                raise CompileError(
                    f"{self.identity} failed on generated code for {arch} ({first}){kept}",
                    command=options,
                    log=log,
                    source_path=source_path,
                )
            return self._read("CUBIN", program), log
        finally:
            self._module.nvrtcDestroyProgram(program)

    def _read(self, what: str, program: Any) -> bytes:
        buffer = bytearray(self._call(f"nvrtcGet{what}Size", program))
        self._call(f"nvrtcGet{what}", program, buffer)
        return bytes(buffer)

    def _call(self, function: str, *args: Any) -> Any:
        status, *values = getattr(self._module, function)(*args)
        if int(status):
            raise ToolchainError(
                f"{function} of NVRTC failed with {status.name}: reinstall it with "
                "pip install --force-reinstall 'fluxshard[cuda]'"
            )
        return values[0] if len(values) == 1 else values
