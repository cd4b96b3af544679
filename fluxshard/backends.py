"""Which engine runs a plan: what options and target ask for, and what this machine has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fluxshard.codegen.cuda.device.driver import create_stream
from fluxshard.codegen.cuda.launches.kernels import GemmTile
from fluxshard.codegen.cuda.program import CudaProgram, Loader
from fluxshard.codegen.cuda.tune import tune
from fluxshard.errors import CompileError, OptionError, ToolchainError, warn
from fluxshard.geometry import Grid
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.options import CompileOptions, PlannedOptions
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_bench import DeviceBench
from fluxshard.runtime.engines.cuda_device import Captures, Device, EmulatedDevice, GpuDevice
from fluxshard.runtime.engines.engine import Engine
from fluxshard.runtime.engines.reference import ReferenceEngine
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.levels import Level
from fluxshard.runtime.planned.planner import ImageTest, MakeTest

EMULATED_ARCH = "sm_80"
_ON_CPU, _ON_CUDA = ("auto", "cpp", "reference"), ("auto", "cuda", "emulated")
_CAPTURES = Captures(create_stream)  # a lock for what a process has once has to be one for the process: see Captures


def check_target(target: str, options: CompileOptions) -> str:
    """What can be said before anything is compiled.

    Returns:
      the target, with the number of the GPU.

    Raises:
      OptionError: target, backend, dtype and arch do not go together.
      ToolchainError: the target is a GPU that torch does not see.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", target):
        raise OptionError(f"target (={target!r}) must be 'cpu', 'cuda' or 'cuda:N'")
    allowed = _ON_CPU if target == "cpu" else _ON_CUDA
    if options.backend not in allowed:
        raise OptionError(f"backend (={options.backend!r}) must be one of {', '.join(allowed)} on target {target!r}")
    if target == "cpu" and options.dtype != "float32":
        raise OptionError(f"dtype (={options.dtype!r}) must be 'float32' on target 'cpu'; others are for target 'cuda'")
    if options.arch != "native":
        CudaTarget(arch=options.arch, dtype=options.dtype)
    return target if target == "cpu" or options.backend == "emulated" else f"cuda:{_device_index(target)}"


def make_engine(
    plan: Plan, weights: Mapping[str, Tensor], options: CompileOptions, target: str
) -> tuple[Engine, Mapping[str, str]]:
    """The engine that options ask for.

    Args:
      plan: what to run.
      weights: by name, on the CPU.
      options: backend, instruction set or architecture, and type.
      target: from `check_target`.

    Returns:
      the engine, and by layer why it does not run as planned.

    Raises:
      ToolchainError: no compiler or no GPU, or a compilation that fails.
      MissingKernelError: compilation is disabled and the kernels are not cached.
    """
    if target != "cpu":
        return _cuda(plan, weights, options, target)
    if options.backend == "reference":
        return ReferenceEngine(plan, weights), {}
    from fluxshard.codegen.common.toolchain import detect_target
    from fluxshard.codegen.cpp import build_step
    from fluxshard.runtime.engines.cpp import CppEngine

    try:
        found = detect_target(options.isa)
    except ToolchainError as error:
        if options.backend == "cpp":
            raise
        warn(f"{error}; running the reference backend, which is slow")
        return ReferenceEngine(plan, weights), {}
    program = build_step(plan, found)
    notes = {name: f"{plan.layer(name).reason}; in torch: {why}" for name, why in program.in_torch.items()}
    return CppEngine(plan, program, weights), notes


def image_tests(plan: Plan, options: CompileOptions) -> MakeTest:
    """What makes the image tests of planned reuse: generated C++ where there is a compiler, otherwise numpy.

    The reference backend takes numpy, which is the definition. On a GPU the test runs on the processor: its masks are
    needed there before the frame is.
    """
    if options.backend == "reference":
        return ReferenceImageTest
    from fluxshard.codegen.common.toolchain import detect_target
    from fluxshard.codegen.cpp.image_test import build_image_test, image_test_params
    from fluxshard.runtime.planned.cpp_image_test import CppImageTest

    try:
        found = detect_target(options.isa)
    except ToolchainError:
        return ReferenceImageTest  # whoever made the engine has been told
    channels = plan.value(plan.input).channels

    def make(image: Grid, levels: Sequence[Level], grids: Sequence[Grid], planned: PlannedOptions) -> ImageTest:
        library = build_image_test(image_test_params(image, channels, levels, grids), found)
        return CppImageTest(library, levels, planned)

    return make


def gpu_device(index: int) -> GpuDevice:
    """A GPU, by torch's number; all of them take turns in capturing graphs."""
    return GpuDevice(index, _CAPTURES)


def _cuda(
    plan: Plan, weights: Mapping[str, Tensor], options: CompileOptions, target: str
) -> tuple[Engine, Mapping[str, str]]:
    loader: Loader
    device: Device
    if options.backend == "emulated":
        from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader

        arch = EMULATED_ARCH if options.arch == "native" else options.arch
        goal = CudaTarget(arch=arch, dtype=options.dtype)
        loader = emulator = EmulatedLoader()
        device = EmulatedDevice(emulator.poison if emulator.target.sanitize else None)
    else:
        from fluxshard.codegen.cuda.device.loader import GpuLoader

        index = _device_index(target)
        try:
            torch.zeros(1, device=f"cuda:{index}")  # makes the device's context current: kernels are loaded into it
        except RuntimeError as error:
            seen = str(error).strip().partition("\n")[0]
            raise ToolchainError(f"target {target!r} cannot be used ({seen}): check nvidia-smi") from error
        loader = gpu = GpuLoader(index, options.arch, options.dtype)
        goal, device = gpu.target, gpu_device(index)
    with device.current():
        return _cuda_engine(plan, weights, options, goal, loader, device)


def _cuda_engine(
    plan: Plan, weights: Mapping[str, Tensor], options: CompileOptions, goal: CudaTarget, loader: Loader, device: Device
) -> tuple[Engine, Mapping[str, str]]:
    """The engine, with layers in torch whose kernels are refused."""
    tiles: Mapping[str, GemmTile] = {}
    if options.autotune:
        name = device.backend if options.backend == "emulated" else torch.cuda.get_device_name(device.torch_device)
        tiles = tune(plan, goal, loader, DeviceBench(device), name)
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


def _device_index(target: str) -> int:
    """The device that a target names.

    Raises:
      ToolchainError: torch sees no such GPU.
    """
    if torch.version.cuda is None:
        raise ToolchainError(
            f"target {target!r} needs a torch with CUDA; this is torch {torch.__version__}, built for the CPU: install "
            "another build (pytorch.org), run on the CPU, or take backend 'emulated' to test kernels without a GPU"
        )
    if not torch.cuda.is_available():
        raise ToolchainError(
            f"target {target!r} needs an NVIDIA GPU and driver, and torch finds none: check nvidia-smi, run on the "
            "CPU, or take backend 'emulated' to test kernels without a GPU"
        )
    index = int(target[5:]) if ":" in target else torch.cuda.current_device()
    if index >= torch.cuda.device_count():
        raise ToolchainError(
            f"target {target!r} does not exist: torch sees {torch.cuda.device_count()} GPUs, from cuda:0"
        )
    return index
