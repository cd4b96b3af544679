"""Engines that run generated CUDA, on a GPU or in the emulator."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fluxshard.codegen.cuda.device.driver import create_stream
from fluxshard.codegen.cuda.launches.kernels import GemmTile
from fluxshard.codegen.cuda.program import CudaProgram, Loader
from fluxshard.codegen.cuda.tune import Progress, tune
from fluxshard.errors import CompileError, ToolchainError, warn
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.options import CompileOptions, DType
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_bench import DeviceBench
from fluxshard.runtime.engines.cuda_device import Captures, Device, EmulatedDevice, GpuDevice
from fluxshard.runtime.engines.engine import Engine

EMULATED_ARCH = "sm_80"
_CAPTURES = Captures(create_stream)  # a lock for what a process has once has to be one for the process: see Captures


def gpu_device(index: int) -> GpuDevice:
    """A GPU, by torch's number; all of them take turns in capturing graphs."""
    return GpuDevice(index, _CAPTURES)


def cuda_engine(
    plan: Plan,
    weights: Mapping[str, Tensor],
    options: CompileOptions,
    target: str,
    index: int | None,
    dtype: DType,
    progress: Progress | None = None,
) -> tuple[Engine, Mapping[str, str]]:
    """The engine of a GPU, or of the emulator.

    Args:
      plan, weights, options, target: as for `backends.make_engine`.
      index: torch's number of the GPU; None: the emulator.
      dtype: storage type of features.
      progress: as for `tune`.

    Returns:
      the engine, and by layer why it does not run as planned.

    Raises:
      ToolchainError: the GPU cannot be used, or a compilation fails.
    """
    loader: Loader
    device: Device
    if index is None:
        from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader

        arch = EMULATED_ARCH if options.arch == "native" else options.arch
        goal = CudaTarget(arch=arch, dtype=dtype)
        loader = emulator = EmulatedLoader()
        device = EmulatedDevice(emulator.poison if emulator.target.sanitize else None)
    else:
        from fluxshard.codegen.cuda.device.loader import GpuLoader

        try:
            torch.zeros(1, device=f"cuda:{index}")  # makes the device's context current: kernels are loaded into it
        except RuntimeError as error:
            seen = str(error).strip().partition("\n")[0]
            raise ToolchainError(f"target {target!r} cannot be used ({seen}): check nvidia-smi") from error
        loader = gpu = GpuLoader(index, options.arch, dtype)
        goal, device = gpu.target, gpu_device(index)
    with device.current():
        return _with_refusals(plan, weights, options, goal, loader, device, progress)


def _with_refusals(
    plan: Plan,
    weights: Mapping[str, Tensor],
    options: CompileOptions,
    goal: CudaTarget,
    loader: Loader,
    device: Device,
    progress: Progress | None,
) -> tuple[Engine, Mapping[str, str]]:
    """The engine, with layers in torch whose kernels are refused."""
    tiles: Mapping[str, GemmTile] = {}
    if options.autotune:
        name = device.backend if options.backend == "emulated" else torch.cuda.get_device_name(device.torch_device)
        tiles = tune(plan, goal, loader, DeviceBench(device), name, progress=progress)
    notes: dict[str, str] = {}
    while True:
        program = CudaProgram(plan, goal, loader, tiles, frozenset(notes))
        try:
            program.prepare_all()
        except CompileError as error:
            failed = program.layers_of(error.kernel)
            if not failed:
                raise
            notes |= {layer: f"runs in torch: kernel {error.kernel} was refused: {error}" for layer in failed}
            warn(f"kernel {error.kernel} was refused, {', '.join(failed)} will run in torch: {error}")
            continue
        return CudaEngine(plan, program, weights, device), notes
