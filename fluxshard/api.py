"""compile(): captures a network and joins passes, code generation and runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from fluxshard.backends import check_target
from fluxshard.compiled.lowered import Lowered
from fluxshard.compiled.model import CompiledModel
from fluxshard.errors import ShapeError, TraceError
from fluxshard.ir.plan import Plan
from fluxshard.options import CompileOptions
from fluxshard.passes import run_passes
from fluxshard.passes.capture.device_copy import moved, tensors_of
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.lower import lower
from fluxshard.runtime.reuse.canvas import zero_canvas

__all__ = ["CapturedNetwork", "CompiledModel", "Net", "compile"]

Net = torch.nn.Module | torch.fx.GraphModule | ExportedProgram


def compile(
    net: Net,
    example: Tensor | None = None,
    *,
    options: CompileOptions | None = None,
    target: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> CompiledModel:
    """Compiles a CNN for incremental execution over video.

    Args:
      net: a module in eval semantics, a GraphModule or an ExportedProgram with one image input; never changed. It may
        be on any device: it is captured on the CPU.
      example: `(1, C, H, W)` float32; only its shape matters. None specialises at the first frame; in both cases
        another size is compiled when it first comes.
      options: see `CompileOptions`.
      target: "cpu", "cuda" (the current device) or "cuda:1". On a GPU images and results are CUDA tensors.
      progress: told of each measurement while tiles are tuned (`CompileOptions.autotune`): how many are made, and how
        many there are.

    Returns:
      the compiled model; make one session per video stream.

    Raises:
      TraceError: the model cannot be captured.
      ToolchainError: no compiler, or no GPU, for the backend and target.
      OptionError: an option or target that is not allowed.
    """
    options = options or CompileOptions()
    model = CompiledModel(CapturedNetwork(net, options), options, check_target(target, options), progress=progress)
    if example is not None:
        model.specialise(example)
    return model


class CapturedNetwork:
    """See `Network`: captures a network at each size.

    Args:
      net: see `compile`.
      options: `canvas_px` and `dump_dir` count.
    """

    def __init__(self, net: Net, options: CompileOptions) -> None:
        self._net = net
        self._options = options
        self._shape: tuple[int, ...] | None = None

    def lower(self, image: Tensor) -> Lowered:
        """See `Network.lower`."""
        if self._shape not in (None, tuple(image.shape)) and isinstance(self._net, ExportedProgram):
            raise ShapeError(
                f"image is {tuple(image.shape)}; an ExportedProgram runs at {self._shape} only: "
                "compile the nn.Module for other sizes"
            )
        net, dense_macs = _on_cpu(self._net), 0
        example = image
        if self._options.canvas_px:
            dense_macs = _lowered(net, example, CompileOptions())[0].macs
            example = zero_canvas(example, self._options.canvas_px)
        plan, weights, graph_module = _lowered(net, example, self._options)
        self._shape = tuple(image.shape)
        return Lowered(plan=plan, weights=weights, dense_macs=dense_macs, graph_module=graph_module)


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
