"""What is measured: networks with weights, and the place where they run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu_clock import Clock, CudaClock, HostClock
from benchmarks.plans import load_plan, seeded_weights
from fluxshard.backends import make_engine
from fluxshard.codegen.cuda.program import CudaProgram
from fluxshard.ir.plan import Plan
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.passes import run_passes
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.lower import lower
from fluxshard.runtime.engines.cuda import CudaEngine, CudaState
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program


@dataclass(frozen=True, slots=True)
class Case:
    """A network at a size.

    Attributes:
      name: "yolo11m", say.
      size: side of the image in pixels.
      plan, weights: what is run.
      image: a float32 image on the device.
    """

    name: str
    size: int
    plan: Plan
    weights: Mapping[str, Tensor]
    image: Tensor

    @property
    def label(self) -> str:
        """For reports and keys."""
        return f"{self.name}@{self.size}"


@dataclass(frozen=True, slots=True)
class Place:
    """A GPU, or the emulator, which runs the same code without one.

    Attributes:
      device: "cuda" or "emulated".
      torch_device: where tensors are.
      clock: measures there.
    """

    device: str
    torch_device: torch.device
    clock: Clock

    @property
    def on_gpu(self) -> bool:
        """Figures mean something."""
        return self.device == "cuda"


def place_of(device: str) -> Place:
    """The place of this name."""
    if device == "cuda":
        return Place(device, torch.device("cuda", torch.cuda.current_device()), CudaClock())
    return Place(device, torch.device("cpu"), HostClock())


def case_of(name: str, size: int, place: Place) -> Case:
    """A network of `benchmarks.plans`, or "tiny"."""
    plan, weights = _tiny(size) if name == "tiny" else (load_plan(name, size), None)
    weights = seeded_weights(plan) if weights is None else weights
    image = torch.rand(plan.value(plan.input).shape, generator=torch.Generator().manual_seed(1))
    return Case(name, size, plan, weights, image.to(place.torch_device))


class _Tiny(nn.Module):
    """Detectors in small: two strides, a residual, attention, an upsampled branch, boxes decoded by torch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.again, self.qkv = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 24, 1)
        self.fuse, self.head = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, image: Tensor) -> Tensor:
        stem = F.silu(self.stem(image))
        deep = F.silu(self.deep(stem))
        deep = deep + F.silu(self.again(deep))
        q, k, v = self.qkv(deep).flatten(2).split((4, 4, 16), 1)
        deep = deep + (v @ (q.transpose(1, 2) @ k).softmax(-1).transpose(1, 2)).view_as(deep)
        joined = F.silu(self.fuse(torch.cat([stem, F.interpolate(deep, scale_factor=2.0)], 1)))
        return torch.sigmoid(self.head(joined).flatten(2))


def _tiny(size: int) -> tuple[Plan, dict[str, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        traced = trace(_Tiny().eval(), torch.zeros(1, 3, size, size))
    plan, weights = lower(run_passes(traced, CompileOptions()), traced)
    return plan, dict(weights)


# ---- FluxShard


@dataclass(frozen=True, slots=True)
class Built:
    """A compiled network.

    Attributes:
      engine: runs it.
      seconds: what making it took.
      autotuned: tiles were measured.
    """

    engine: CudaEngine
    seconds: float
    autotuned: bool


def can_autotune() -> bool:
    """Whether this version measures tiles."""
    return any(field.name == "autotune" for field in dataclasses.fields(CompileOptions))


def build(case: Case, place: Place, autotune: bool = False) -> Built:
    """Compiles a network's kernels, or finds them in the cache."""
    chosen = {"autotune": True} if autotune else {}
    options = CompileOptions(backend=place.device, dtype="float16", **chosen)  # type: ignore[arg-type]
    started = time.perf_counter()
    engine, notes = make_engine(case.plan, case.weights, options, "cuda")
    place.clock.wait()
    seconds = time.perf_counter() - started
    assert isinstance(engine, CudaEngine) and isinstance(engine.program, CudaProgram)
    refused = notes.keys() - engine.program.describer.memory.why_in_torch.keys()
    assert not refused, {name: notes[name] for name in refused}
    return Built(engine, seconds, autotune)


def session_of(built: Built, reuse: ReuseOptions) -> Session:
    """A stream whose results are a list of leaves."""
    return Session(lambda _: Program(built.engine, lambda leaves: leaves), reuse)


def stream_of(session: Session) -> CudaState:
    """What the engine keeps of a session that has run a frame."""
    assert session._stream is not None
    stream: CudaState = session._stream.state.data
    return stream


def leaves_of(result: object) -> list[Tensor]:
    """The tensors of a result."""
    assert isinstance(result, list | tuple)
    return [leaf for leaf in result if isinstance(leaf, Tensor)]
