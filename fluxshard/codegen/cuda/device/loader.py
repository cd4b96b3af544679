"""Kernels for a GPU: compiled by NVRTC, loaded by the driver."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fluxshard.codegen.cuda.compile.cubin import Job, compile_many
from fluxshard.codegen.cuda.compile.render import render_kernel
from fluxshard.codegen.cuda.device.driver import CudaKernel, DeviceInfo, device_of
from fluxshard.codegen.cuda.launches.kernels import Kernel
from fluxshard.codegen.cuda.program import Bound, Loaded
from fluxshard.errors import OptionError
from fluxshard.ir.kernel import CudaTarget
from fluxshard.options import DType


def gpu_target(device: DeviceInfo, arch: str, dtype: DType) -> CudaTarget:
    """What is generated for a GPU.

    Args:
      device: the GPU.
      arch: "native", or an architecture whose code runs on it.
      dtype: storage of features.

    Raises:
      OptionError: no code that we generate runs on it, or that of `arch` does not.
    """
    major, minor = device.capability
    best = CudaTarget.nearest(major, minor, dtype)
    if arch == "native":
        return best
    wanted = CudaTarget(arch=arch, dtype=dtype)
    number = int(arch[3:])
    if number // 10 != major or number % 10 > minor:
        raise OptionError(
            f"arch (={arch!r}) does not run on {device.name}, whose compute capability is {major}.{minor}: "
            f"use {best.arch!r}"
        )
    return wanted


class GpuLoader:
    """See `program.Loader`. The device's context has to be current: see `driver`.

    Args:
      index: of the device.
      arch: as in `gpu_target`.
      dtype: storage of features.
      root: of the kernel cache, instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      ToolchainError: no driver or no cuda-bindings.
      OptionError: no code that we generate runs on the device.
    """

    def __init__(self, index: int, arch: str, dtype: DType, root: Path | None = None) -> None:
        self.device = device_of(index)
        self.target = gpu_target(self.device, arch, dtype)
        self._root = root

    @property
    def overlaps(self) -> bool:
        """Kernels may begin before those in front of them have ended, in graphs as well: from CUDA 12.3 on.

        `FLUXSHARD_NO_OVERLAP=1` forbids it.
        """
        able = int(self.target.arch[3:]) >= 90 and self.device.driver_version >= (12, 3)
        return able and os.environ.get("FLUXSHARD_NO_OVERLAP", "0") in ("", "0")

    def load(self, kernels: Mapping[str, tuple[Kernel, int]]) -> dict[str, Loaded]:
        """See `program.Loader.load`."""
        jobs = [
            Job(name=name, text=render_kernel(kernel, args_bytes), arch=self.target.arch)
            for name, (kernel, args_bytes) in kernels.items()
        ]
        cubins = compile_many(jobs, self._root)
        return {
            name: _Loaded(
                CudaKernel(cubin, name, kernel.threads, kernel.shared_bytes), self.device.multiprocessors, self.overlaps
            )
            for (name, (kernel, _)), cubin in zip(kernels.items(), cubins, strict=True)
        }


class _Loaded:
    """See `program.Loaded`."""

    def __init__(self, kernel: CudaKernel, multiprocessors: int, overlaps: bool) -> None:
        self._kernel, self._overlaps = kernel, overlaps
        self._resident = kernel.blocks_per_sm * multiprocessors

    def blocks(self, wanted: int) -> int:
        """See `program.Loaded.blocks`: as many as run at a time."""
        return min(wanted, self._resident)

    def bind(self, blocks: int, args: bytes, alone: bool = True) -> Bound:
        """See `program.Loaded.bind`."""
        return self._kernel.bind(blocks, args, overlaps=self._overlaps and not alone)
