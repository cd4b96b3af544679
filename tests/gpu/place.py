"""Where tests of CUDA kernels run them. Tests are written for a place, so that some also run without a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fluxshard
from fluxshard.codegen.cpp.image_test import image_test_params
from fluxshard.codegen.cuda.device.loader import GpuLoader
from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader
from fluxshard.codegen.cuda.image_test import CudaImageTestProgram
from fluxshard.codegen.cuda.program import CudaProgram, Loader
from fluxshard.cuda_engines import gpu_device
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.motion import MotionField
from fluxshard.options import Backend, DType, PlannedOptions
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_device import Device, EmulatedDevice
from fluxshard.runtime.engines.cuda_input_cache import CudaInput, CudaInputCache
from fluxshard.runtime.engines.engine import Inspection, StepControl, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.planned.cuda_image_test import CudaImageTest
from fluxshard.runtime.planned.levels import Level
from fluxshard.runtime.planned.planner import ImageTest
from fluxshard.runtime.planned.proposal import ShardProposal
from fluxshard.runtime.reuse.input_cache import InputOptions, InputProposal, Mask
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from tests.host.shard_streams import Case

DTYPES: tuple[DType, ...] = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class Place:
    """A GPU, or the emulator.

    Attributes:
      backend: "cuda" or "emulated".
      torch_device: where images and results are.
      arch: what kernels are generated for.
    """

    backend: Backend
    torch_device: torch.device
    arch: str = "native"

    def compile(self, net: nn.Module, size: tuple[int, int], dtype: DType = "float32") -> fluxshard.CompiledModel:
        """A net of RGB images."""
        options = fluxshard.CompileOptions(backend=self.backend, dtype=dtype, arch=self.arch)
        return fluxshard.compile(net, torch.zeros(1, 3, *size), options=options, target="cuda")

    def engine(
        self, plan: Plan, weights: Mapping[str, Tensor], dtype: DType, dense: frozenset[str] = frozenset(),
        captures: bool = True,
    ) -> CudaEngine:  # fmt: skip
        """A plan's engine.

        Args:
          plan, weights: what to run.
          dtype: what is stored.
          dense: layers that run in torch although they need not.
          captures: frames are captured as graphs, where that is possible.
        """
        loader: Loader
        device: Device
        if self.backend == "emulated":
            loader, target, device = EmulatedLoader(), CudaTarget(arch="sm_80", dtype=dtype), EmulatedDevice()
        else:
            torch.zeros(1, device=self.torch_device)  # makes the device's context current
            index = self.torch_device.index or 0
            loader = gpu = GpuLoader(index, "native", dtype)
            target, device = gpu.target, gpu_device(index)
            device.captures = captures
        program = CudaProgram(plan, target, loader, dense=dense)
        program.prepare_all()
        return CudaEngine(plan, program, weights, device)

    def image_test(self, case: Case, options: PlannedOptions) -> HostImageTest:
        """An image test's stream whose images are on the host."""
        levels = case.thresholds(options)
        params = image_test_params(case.grids[0], case.channels, levels, case.grids)
        loader: Loader
        device: Device
        if self.backend == "emulated":
            loader, device = EmulatedLoader(), EmulatedDevice()
        else:
            torch.zeros(1, device=self.torch_device)
            index = self.torch_device.index or 0
            loader, device = GpuLoader(index, "native", "float16"), gpu_device(index)
        with device.current():
            program = CudaImageTestProgram(params, len(case.grids), loader)
        return HostImageTest(CudaImageTest(program, device, levels, options), device.torch_device)

    def session(self, engine: CudaEngine, reuse: fluxshard.ReuseOptions) -> Session:
        """A stream whose images and results are where the engine is; results are leaves."""
        return Session(lambda _: Program(engine, lambda leaves: leaves), reuse)

    def from_host(self, model: fluxshard.CompiledModel, reuse: fluxshard.ReuseOptions) -> Session:
        """A stream of a model whose images and results are on the host."""

        def program(image: Tensor) -> Program:
            made = model.specialise(image).program
            assert isinstance(made.engine, CudaEngine)
            device = made.engine.torch_device

            def make_test(*of: Any) -> HostImageTest:
                return HostImageTest(made.make_test(*of), device)

            return Program(HostEngine(made.engine), made.unflatten, make_test=make_test)

        return Session(program, reuse)


CUDA = Place("cuda", torch.device("cuda", 0))
EMULATED = Place("emulated", torch.device("cpu"))


class HostInputCache:
    """An input cache on a device whose images are on the host.

    Args:
      inner: the cache.
      device: where it is.
    """

    def __init__(self, inner: CudaInputCache, device: torch.device) -> None:
        self.inner = inner
        self.n_bytes = inner.n_bytes
        self._device = device

    def propose(self, image: Tensor, motion: Motion | None, *, keyframe: bool, given: Mask | None) -> CudaInput:
        """See `InputCache.propose`."""
        return self.inner.propose(image.to(self._device), motion, keyframe=keyframe, given=given)

    def commit(self, proposal: InputProposal) -> None:
        """See `InputCache.commit`."""
        self.inner.commit(proposal)


class HostImageTest:
    """An image test on a device whose images are on the host.

    Args:
      inner: the test.
      device: where it is.
    """

    def __init__(self, inner: ImageTest, device: torch.device) -> None:
        self.inner, self._device = inner, device

    def keyframe(self, image: Tensor) -> bool:
        """See `ImageTest.keyframe`."""
        return self.inner.keyframe(image.to(self._device))

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """See `ImageTest.focus`."""
        self.inner.focus(regions)

    def set_levels(self, levels: Sequence[Level]) -> None:
        """See `ImageTest.set_levels`."""
        self.inner.set_levels(levels)

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        """See `ImageTest.propose`."""
        return self.inner.propose(image.to(self._device), motion)

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        """See `ImageTest.glance`."""
        return self.inner.glance(image.to(self._device), motion)

    def commit(self, proposal: ShardProposal) -> None:
        """See `ImageTest.commit`."""
        self.inner.commit(proposal)


class HostEngine:
    """An engine on a device whose images and results are on the host.

    Args:
      inner: the engine.
    """

    torch_device = torch.device("cpu")

    def __init__(self, inner: CudaEngine) -> None:
        self.inner = inner
        self.plan = inner.plan
        self.name = inner.name

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        return self.inner.new_state(given=given)

    def new_input_cache(self, options: InputOptions) -> HostInputCache:
        """See `Engine.new_input_cache`."""
        return HostInputCache(self.inner.new_input_cache(options), self.inner.torch_device)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        result = self.inner.step(state, image.to(self.inner.torch_device), motion, control)
        leaves = [leaf.cpu() if isinstance(leaf, Tensor) else leaf for leaf in result.leaves]
        return replace(result, leaves=leaves)

    def inspect(self, state: StreamState) -> Inspection:
        """See `Engine.inspect`."""
        return self.inner.inspect(state)


def leaves_of(result: object) -> list[Tensor]:
    """The tensors that a model returned, in order."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
