"""Engines that run generated CUDA, on a GPU or in the emulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fluxshard.codegen.cpp.image_test import ImageTestParams, image_test_params
from fluxshard.codegen.cuda.device.driver import create_stream
from fluxshard.codegen.cuda.image_test import CudaImageTestProgram, fits_device
from fluxshard.codegen.cuda.launches.kernels import GemmTile
from fluxshard.codegen.cuda.program import CudaProgram, Loader
from fluxshard.codegen.cuda.tune import Progress, tune
from fluxshard.errors import CompileError, ToolchainError, warn
from fluxshard.geometry import Grid
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.options import CompileOptions, DType, PlannedOptions
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_bench import DeviceBench
from fluxshard.runtime.engines.cuda_device import Captures, Device, EmulatedDevice, GpuDevice
from fluxshard.runtime.engines.engine import Engine
from fluxshard.runtime.planned.cuda_image_test import CudaImageTest
from fluxshard.runtime.planned.levels import Level
from fluxshard.runtime.planned.planner import ImageTest, MakeTest

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


def image_tests(engine: CudaEngine, otherwise: MakeTest) -> MakeTest:
    """What makes the image tests of planned reuse where an engine runs.

    Args:
      engine: whose frames are tested.
      otherwise: makes those that its device cannot: of strides that its numbers do not hold, or where kernels are
        refused.
    """
    plan, program = engine.plan, engine.program
    assert isinstance(program, CudaProgram)
    channels = plan.value(plan.input).channels
    made: dict[ImageTestParams, CudaImageTestProgram | None] = {}

    def program_of(params: ImageTestParams) -> CudaImageTestProgram | None:
        if not fits_device(params):
            return None
        try:
            with engine.device.current():
                return CudaImageTestProgram(params, len(plan.grids), program.loader)
        except CompileError as error:
            warn(f"kernel {error.kernel} was refused, images will be fetched and tested on the processor: {error}")
            return None

    def make(image: Grid, levels: Sequence[Level], grids: Sequence[Grid], planned: PlannedOptions) -> ImageTest:
        params = image_test_params(image, channels, levels, grids)
        if params not in made:
            made[params] = program_of(params)
        kernels = made[params]
        if kernels is None:
            return otherwise(image, levels, grids, planned)
        return CudaImageTest(kernels, engine.device, levels, planned)

    return make


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
        islands = program.describer.memory.why_in_torch.items()
        notes |= {name: f"{plan.layer(name).reason}; in torch: {why}" for name, why in islands}
        return CudaEngine(plan, program, weights, device), notes
