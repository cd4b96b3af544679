"""Kernels for the emulator: compiled by g++, run on the processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fluxshard.codegen.cuda.compile.render import render_kernel
from fluxshard.codegen.cuda.emulate.cache import get_or_build_emulated
from fluxshard.codegen.cuda.emulate.compiler import (
    EmulatedKernel,
    EmulatorTarget,
    compile_emulated,
    detect_emulator,
    emulation_header,
)
from fluxshard.codegen.cuda.launches.kernels import Kernel
from fluxshard.codegen.cuda.program import Bound, Loaded
from fluxshard.errors import CompileError

_BLOCKS = 3  # persistent blocks: few, so that each takes several tiles, and more than one, so that they meet


class EmulatedLoader:
    """See `program.Loader`.

    Args:
      target: from `detect_emulator`; None finds the compiler.
      root: of the kernel cache, instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      ToolchainError: there is no C++ compiler.
    """

    def __init__(self, target: EmulatorTarget | None = None, root: Path | None = None) -> None:
        self.target = target or detect_emulator()
        self._root = root
        self._any: EmulatedKernel | None = None

    def load(self, kernels: Mapping[str, tuple[Kernel, int]]) -> dict[str, Loaded]:
        """See `program.Loader.load`."""
        headers = {"emulate.h": emulation_header()}

        def build(name: str) -> EmulatedKernel:
            kernel, args_bytes = kernels[name]
            try:
                path = get_or_build_emulated(
                    name, render_kernel(kernel, args_bytes), headers, self.target, compile_emulated, self._root
                )
            except CompileError as error:
                error.kernel = name
                raise
            return EmulatedKernel(path, name)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = list(pool.map(build, kernels))
        loaded = {name: _Loaded(kernel, kernels[name][0]) for name, kernel in zip(kernels, made, strict=True)}
        self._any = made[0]
        return dict(loaded)

    def poison(self, address: int, n_bytes: int) -> None:
        """Forbids access to memory, where kernels are compiled with sanitizers."""
        if self._any is not None:
            self._any.poison(address, n_bytes)


class _Loaded:
    """See `program.Loaded`."""

    def __init__(self, executable: EmulatedKernel, kernel: Kernel) -> None:
        self._executable = executable
        self._kernel = kernel

    def blocks(self, wanted: int) -> int:
        """See `program.Loaded.blocks`."""
        return min(wanted, _BLOCKS)

    def bind(self, blocks: int, args: bytes, alone: bool = True) -> Bound:
        """See `program.Loaded.bind`."""
        launch: Callable[..., None] = self._executable.launch
        return lambda _: launch(blocks, self._kernel.threads, self._kernel.shared_bytes, args)
