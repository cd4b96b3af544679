"""Small kernels for tests: one unit from a body, compiled once per text, launched with numpy arrays and numbers."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.cuda.emulate.compiler import (
    EmulatedKernel,
    Order,
    compile_into,
    detect_emulator,
    emulation_header,
)

HEADERS = {"emulate.h": emulation_header()}
ORDERS: tuple[Order, ...] = ("forward", "reverse", "alternate")

# fields: const int* v; int* out; int n;
REDUCE = """
  __shared__ int part[32];
  int sum = 0;
  for (int i = threadIdx.x; i < a.n; i += blockDim.x) sum += a.v[blockIdx.x * a.n + i];
  for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(~0u, sum, d);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    sum = 0;
    for (int w = 0; w < blockDim.x / 32; ++w) sum += part[w];
    a.out[blockIdx.x] = sum;
  }"""


def pack(*values: NDArray[np.generic] | int | float) -> ctypes.Structure:
    """Pointers and numbers in the order of the kernel's structure."""
    kinds = {float: ctypes.c_float, int: ctypes.c_int32}
    fields = [(f"f{i}", kinds.get(type(v), ctypes.c_void_p)) for i, v in enumerate(values)]
    kind = type("Args", (ctypes.Structure,), {"_fields_": fields})
    return kind(*(v.ctypes.data if isinstance(v, np.ndarray) else v for v in values))  # type: ignore[no-any-return]


def unit(fields: str, body: str, before: str = "") -> str:
    """One kernel named `k` as a translation unit; its body begins in line 7."""
    return (
        f'#ifdef FS_EMULATE\n#include "emulate.h"\n#endif\nstruct Args {{ {fields} }};\n{before}\n'
        f'extern "C" __global__ void __launch_bounds__(1024) k(const Args a) {{\n{body}\n}}\nFS_EXPORT(k, Args)\n'
    )


class Builder:
    """Compiles kernels into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._target = detect_emulator()
        self._built: dict[tuple[str, tuple[str, ...]], Path] = {}

    def __call__(
        self, fields: str, body: str, *, before: str = "", order: Order | None = None, flags: tuple[str, ...] = ()
    ) -> EmulatedKernel:
        text = unit(fields, body, before)
        if (text, flags) not in self._built:
            target = dataclasses.replace(self._target, flags=(*self._target.flags, *flags))
            directory = Path(mkdtemp(dir=self._directory))
            self._built[text, flags] = compile_into(directory, text, "k", target, HEADERS)
        return EmulatedKernel(self._built[text, flags], "k", order)
