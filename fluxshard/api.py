"""compile() and CompiledModel: wires passes, code generation and runtime together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from fluxshard.backends import check_target, image_tests, make_engine, stored_type
from fluxshard.codegen.cuda.report import KernelReport, kernel_report, parse_arch
from fluxshard.errors import OptionError, ShapeError, StateError, TraceError
from fluxshard.explain import Explanation
from fluxshard.ir.plan import Plan
from fluxshard.options import AnyDType, CompileOptions, DType, ReuseOptions
from fluxshard.passes import run_passes
from fluxshard.passes.capture.device_copy import moved, tensors_of
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.lower import lower
from fluxshard.runtime.reuse.canvas import zero_canvas
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import ThresholdProfile

Net = torch.nn.Module | torch.fx.GraphModule | ExportedProgram


def compile(
    net: Net,
    example: Tensor | None = None,
    *,
    options: CompileOptions | None = None,
    target: str = "cpu",
) -> CompiledModel:
    """Compiles a CNN for incremental execution over video.

    Args:
      net: a module in eval semantics, a GraphModule or an ExportedProgram with one image input; never changed. It may
        be on any device: it is captured on the CPU.
      example: `(1, C, H, W)` float32; only its shape matters. None specialises at the first frame; in both cases
        another size is compiled when it first comes.
      options: see `CompileOptions`.
      target: "cpu", "cuda" (the current device) or "cuda:1". On a GPU images and results are CUDA tensors.

    Returns:
      the compiled model; make one session per video stream.

    Raises:
      TraceError: the model cannot be captured.
      ToolchainError: no compiler, or no GPU, for the backend and target.
      OptionError: an option or target that is not allowed.
    """
    options = options or CompileOptions()
    model = CompiledModel(net, options, check_target(target, options))
    if example is not None:
        model.specialise(example)
    return model


class CompiledModel:
    """A model ready to run: kernels and weights, shared by its sessions. Made by `compile()`."""

    def __init__(self, net: Net, options: CompileOptions, target: str = "cpu") -> None:
        self._net = net
        self._options = options
        self._target = target
        self._lock = threading.Lock()
        self._compiled: dict[tuple[int, ...], _Specialisation] = {}
        self._latest: _Specialisation | None = None

    def session(self, reuse: ReuseOptions | None = None, *, exact: bool = False) -> Session:
        """A new video stream.

        Args:
          reuse: what to reuse; None: planned reuse at its shipped thresholds, as `fluxshard run`.
          exact: outputs equal the dense network's up to rounding (`ReuseOptions.exact`); takes the place of `reuse`.

        Raises:
          ProfileError: a profile that cannot be read; or, at the first frame, one of another network or other weights.
          OptionError: a profile that was found with another canvas; both `reuse` and `exact`.
        """
        if exact and reuse is not None:
            raise OptionError("session(exact=True) says what to reuse: leave out reuse, or exact")
        if reuse is None:
            reuse = ReuseOptions.exact() if exact else ReuseOptions(policy="planned")
        if reuse.profile is None:
            return Session(lambda image: self.specialise(image).program, reuse)
        profile = ThresholdProfile.load(reuse.profile)
        if profile.canvas_px != self._options.canvas_px:
            raise OptionError(
                f"the profile was found with canvas_px={profile.canvas_px}, and the model is compiled with "
                f"{self._options.canvas_px}: compile it with CompileOptions(canvas_px={profile.canvas_px})"
            )

        def checked(image: Tensor) -> Program:
            found = self.specialise(image)
            profile.check(found.program.engine.plan, found.weights)
            return found.program

        return Session(checked, profile.reuse)

    def specialise(self, example: Tensor) -> _Specialisation:
        """Compiles for the shape of `example`, or returns what is already compiled for it."""
        shape = tuple(example.shape)
        with self._lock:
            found = self._compiled.get(shape)
            if found is None:
                found = self._compiled[shape] = self._compile(torch.zeros(shape, dtype=example.dtype))
            self._latest = found
            return found

    @property
    def options(self) -> CompileOptions:
        """Options that the model is compiled with."""
        return self._options

    @property
    def plan(self) -> Plan:
        """The plan of the size compiled last.

        Raises:
          StateError: nothing is compiled yet.
        """
        return self._last().program.engine.plan

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Weights of the plan by name, batch norms folded."""
        return self._last().weights

    @property
    def graph_module(self) -> torch.fx.GraphModule:
        """The final graph: printable, drawable and runnable (densely)."""
        return self._last().graph_module

    @property
    def backend(self) -> str:
        """Backend of the engine: "cpp", "cuda", "reference" or "emulated"."""
        return self._last().program.engine.name

    @property
    def device(self) -> torch.device:
        """Device of images and results; the emulator takes and gives tensors of the CPU."""
        return torch.device("cpu" if self._options.backend == "emulated" else self._target)

    @property
    def dtype(self) -> DType:
        """What features are stored as, on this machine; the reference backend stands in with float32."""
        stands_in = self._latest is not None and self.backend == "reference"
        return "float32" if stands_in else stored_type(self._target, self._options)

    @overload
    def explain(self, example: Tensor | tuple[int, ...] | None = None) -> Explanation: ...

    @overload
    def explain(
        self, example: Tensor | tuple[int, ...] | None = None, *, target: str, dtype: AnyDType | None = None
    ) -> KernelReport: ...

    def explain(
        self,
        example: Tensor | tuple[int, ...] | None = None,
        *,
        target: str | None = None,
        dtype: AnyDType | None = None,
    ) -> Explanation | KernelReport:
        """Describes each layer: how it runs, and why; print it.

        Args:
          example: an image or its shape `(1, C, H, W)`; None takes the size compiled last.
          target: None explains what was compiled. "cuda:sm_90" compiles the kernels for that architecture, without a
            GPU, and reports registers, shared memory and spills of each.
          dtype: of the kernels of `target`; None takes that of the options.

        Raises:
          ToolchainError: a CUDA target without NVRTC, or one that it does not know.
          OptionError: a target or dtype that kernels are not generated for.
        """
        arch = None if target is None else parse_arch(target)
        if example is not None:
            tensor = example if isinstance(example, Tensor) else torch.zeros(example)
            self.specialise(tensor)
        if arch is not None:
            options = CompileOptions(dtype=dtype or self._options.dtype)
            return kernel_report(self.plan, arch, stored_type("cuda", options))
        return Explanation(self.plan, self.backend, self._last().notes, 4 if self.dtype == "float32" else 2)

    def _last(self) -> _Specialisation:
        if self._latest is None:
            raise StateError("model is not compiled for any size yet: pass an example to compile(), or run a frame")
        return self._latest

    def _compile(self, example: Tensor) -> _Specialisation:
        if self._compiled and isinstance(self._net, ExportedProgram):
            raise ShapeError(
                f"image is {tuple(example.shape)}; an ExportedProgram runs at {next(iter(self._compiled))} only: "
                "compile the nn.Module for other sizes"
            )
        net, dense_macs = _on_cpu(self._net), 0
        if self._options.canvas_px:
            dense_macs = _lowered(net, example, CompileOptions())[0].macs
            example = zero_canvas(example, self._options.canvas_px)
        plan, weights, graph_module = _lowered(net, example, self._options)
        spec = pytree.treespec_loads(plan.output_tree)
        engine, notes = make_engine(plan, weights, self._options, self._target)
        program = Program(
            engine,
            lambda leaves: pytree.tree_unflatten(leaves, spec),
            make_test=image_tests(plan, self._options),
            canvas_px=self._options.canvas_px,
            dense_macs=dense_macs,
        )
        return _Specialisation(program, graph_module, weights, notes)


def _lowered(
    net: Any, example: Tensor, options: CompileOptions
) -> tuple[Plan, Mapping[str, Tensor], torch.fx.GraphModule]:
    traced = trace(net, example)
    graph_module = run_passes(traced, options)
    plan, weights = lower(graph_module, traced)
    return plan, weights, graph_module


def _on_cpu(net: Any) -> Any:
    """The net itself where all of it is on the CPU; otherwise a copy that is.

    Raises:
      TraceError: it cannot be copied.
    """
    module = net.module() if isinstance(net, ExportedProgram) else net
    if not isinstance(module, torch.nn.Module) or not any(_is_elsewhere(tensor) for tensor in tensors_of(module)):
        return net  # what is no net is refused when it is captured
    try:
        return moved(module, "cpu")
    except Exception as error:  # modules may hold anything
        raise TraceError(
            f"{type(net).__name__} is not on the CPU, where it is captured, and cannot be copied there "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}); compile net.cpu()"
        ) from error


def _is_elsewhere(tensor: Tensor) -> bool:
    return tensor.device.type != "cpu"


class _Specialisation:
    """All that belongs to one image size."""

    __slots__ = ("graph_module", "notes", "program", "weights")

    def __init__(
        self, program: Program, graph_module: torch.fx.GraphModule, weights: Mapping[str, Tensor],
        notes: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.program = program
        self.graph_module = graph_module
        self.weights = weights
        self.notes = notes
