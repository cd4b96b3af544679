"""Which engine runs a plan: what options and target ask for, and what this machine has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fluxshard.codegen.common.cache import compiling_is_forbidden
from fluxshard.codegen.common.toolchain import multiplies_pairs, processor_target, with_compiler
from fluxshard.errors import CompileError, OptionError, ToolchainError, warn
from fluxshard.geometry import Grid
from fluxshard.ir.kernel import CpuDType, CudaTarget, Target, cpu_type
from fluxshard.ir.plan import Plan
from fluxshard.options import CompileOptions, DType, Isa, PlannedOptions, stored_types
from fluxshard.runtime.engines.engine import Engine
from fluxshard.runtime.engines.reference import ReferenceEngine
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.levels import Level
from fluxshard.runtime.planned.planner import ImageTest, MakeTest

if TYPE_CHECKING:
    from fluxshard.codegen.cpp.tiles import Tile

_ON_CPU, _ON_CUDA = ("auto", "cpp", "reference"), ("auto", "cuda", "emulated")


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
    if target == "cpu" and options.dtype not in stored_types("cpp"):
        names = ", ".join(map(repr, stored_types("cpp")))
        raise OptionError(f"dtype (={options.dtype!r}) must be one of {names} on target 'cpu'")
    if options.arch != "native":
        CudaTarget(arch=options.arch)
    return target if target == "cpu" or options.backend == "emulated" else f"cuda:{_device_index(target)}"


def stored_type(target: str, options: CompileOptions) -> DType:
    """What features are stored as; "auto" is resolved for this machine.

    Args:
      target: from `check_target`.
      options: backend, instruction set and type.
    """
    if options.dtype != "auto":
        return options.dtype
    if target != "cpu":
        return "float16"
    able = options.backend != "reference" and options.isa in ("native", "avx512") and multiplies_pairs()
    return "bfloat16" if able else "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class CppPrograms:
    """Where generated C++ comes from.

    Attributes:
      target: instruction set, and the compiler where one was looked for; it stores float32.
      cache_dir: the kernel cache; None: `FLUXSHARD_CACHE_DIR`.
      without: why there is no compiler; empty where there is one, or where none was looked for.
    """

    target: Target
    cache_dir: Path | None = None
    without: str = ""

    def storing(self, dtype: CpuDType) -> Target:
        """The target for features of a type."""
        there = processor_target(self.target.isa, dtype)  # type: ignore[arg-type]
        return replace(there, compiler=self.target.compiler, compiler_id=self.target.compiler_id)


def cpp_programs(isa: Isa) -> CppPrograms:
    """Programs for this processor: compiled by its compiler, or without one those that are in the kernel cache.

    Raises:
      ToolchainError: the processor lacks what `isa` names.
    """
    target = processor_target(isa)
    try:
        target = with_compiler(target)
    except ToolchainError as error:
        return CppPrograms(target=target, without=str(error))
    if compiling_is_forbidden():
        target = replace(target, compiler="")  # what another compiler made will do, too
    return CppPrograms(target=target)


def make_engine(
    plan: Plan,
    weights: Mapping[str, Tensor],
    options: CompileOptions,
    target: str,
    programs: CppPrograms | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Engine, Mapping[str, str]]:
    """The engine that options ask for.

    Args:
      plan: what to run.
      weights: by name, on the CPU.
      options: backend, instruction set or architecture, and type.
      target: from `check_target`.
      programs: where generated C++ comes from; None: from `cpp_programs`.
      progress: told how many layers (on a GPU: tiles of all layers) are measured, and how many there are.

    Returns:
      the engine, and by layer why it does not run as planned.

    Raises:
      ToolchainError: no compiler or no GPU, or a compilation that fails.
      MissingKernelError: compilation is disabled and the kernels are not cached.
    """
    if target != "cpu":
        index = None if options.backend == "emulated" else _device_index(target)
        from fluxshard.cuda_engines import cuda_engine  # its bindings take longer to import than a CPU's model to open

        return cuda_engine(plan, weights, options, target, index, stored_type(target, options), progress)
    if options.backend == "reference":
        return ReferenceEngine(plan, weights), {}
    from fluxshard.codegen.cpp import build_step
    from fluxshard.runtime.engines.cpp import CppEngine

    try:
        programs = programs or cpp_programs(options.isa)
        stored = programs.storing(cpu_type(stored_type(target, options)))
        tiles = _measured_tiles(plan, stored, programs.cache_dir, progress) if options.autotune else {}
        library = build_step(plan, stored, programs.cache_dir, tiles)
    except CompileError:
        raise
    except ToolchainError as error:
        if options.backend == "cpp" or options.dtype == "bfloat16":
            raise
        warn(f"{error}; running the reference backend, which is slow")
        return ReferenceEngine(plan, weights), {}
    if programs.without:
        warn(f"{programs.without.partition(';')[0]}; running kernels from the cache")
    notes = {name: f"{plan.layer(name).reason}; in torch: {why}" for name, why in library.in_torch.items()}
    return CppEngine(plan, library, weights, {name: str(tile) for name, tile in tiles.items()}), notes


def _measured_tiles(
    plan: Plan, target: Target, cache_dir: Path | None, progress: Callable[[int, int], None] | None
) -> Mapping[str, Tile]:
    """Tiles that are faster here than the rule's; none where kernels cannot be compiled to find out."""
    from fluxshard.codegen.cpp.tuning.bench import TileBench, identity_of
    from fluxshard.codegen.cpp.tuning.tune import tune

    threads = torch.get_num_threads()
    try:
        identity = identity_of(target, threads)
        return tune(plan, target, lambda: TileBench(target, threads, cache_dir), identity, cache_dir, progress)
    except CompileError:
        raise
    except ToolchainError as error:
        warn(f"tiles are chosen by rule, as they cannot be measured: {error}")
        return {}


def image_tests(
    plan: Plan, options: CompileOptions, programs: CppPrograms | None = None, engine: Engine | None = None
) -> MakeTest:
    """What makes the image tests of planned reuse.

    They run where the network does: as kernels on a GPU; otherwise as generated C++, or in numpy where that can neither
    be found nor compiled. The reference backend takes numpy, which is the definition.

    Args:
      plan: of the network.
      options: backend and instruction set.
      programs: where generated C++ comes from; None: from `cpp_programs`.
      engine: that runs the frames; None: one on the processor.
    """
    if options.backend == "reference":
        return ReferenceImageTest
    on_processor = _image_tests_on_processor(plan, options, programs)
    if engine is None or engine.name not in ("cuda", "emulated"):
        return on_processor
    from fluxshard.cuda_engines import image_tests as on_device
    from fluxshard.runtime.engines.cuda import CudaEngine

    assert isinstance(engine, CudaEngine)
    return on_device(engine, on_processor)


def _image_tests_on_processor(plan: Plan, options: CompileOptions, programs: CppPrograms | None) -> MakeTest:
    from fluxshard.codegen.cpp.image_test import build_image_test, image_test_params
    from fluxshard.runtime.planned.cpp_image_test import CppImageTest

    try:
        found = programs or cpp_programs(options.isa)
    except ToolchainError:
        return ReferenceImageTest  # whoever made the engine has been told
    channels = plan.value(plan.input).channels

    def make(image: Grid, levels: Sequence[Level], grids: Sequence[Grid], planned: PlannedOptions) -> ImageTest:
        params = image_test_params(image, channels, levels, grids)
        try:
            library = build_image_test(params, found.target, found.cache_dir)
        except CompileError:
            raise
        except ToolchainError:
            return ReferenceImageTest(image, levels, grids, planned)
        return CppImageTest(library, levels, planned)

    return make


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
