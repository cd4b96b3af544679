"""compile(): captures a network and joins passes, code generation and runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from fluxshard.backends import check_target
from fluxshard.compiled.check_sample import check_sample
from fluxshard.compiled.lowered import Lowered
from fluxshard.compiled.model import CompiledModel
from fluxshard.errors import ShapeError, TraceError
from fluxshard.ir.plan import Plan
from fluxshard.options import CompileOptions
from fluxshard.passes import run_passes
from fluxshard.passes.capture.device_copy import moved, tensors_of
from fluxshard.passes.capture.probe import Sample
from fluxshard.passes.capture.trace import Traced, trace
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
    check: bool = True,
) -> CompiledModel:
    """Compiles a CNN for incremental execution over video.

    Args:
      net: a module in eval semantics, a GraphModule or an ExportedProgram with one image input; never changed, and free
        to be used by other threads. It may be on any device and of any floating type: a copy is captured, on the CPU
        and in float32. The copy runs a few frames first: a model that remembers frames is refused.
      example: `(1, C, H, W)` float32; only its shape matters. None specialises at the first frame; in both cases
        another size is compiled when it first comes.
      options: see `CompileOptions`.
      target: "cpu", "cuda" (the current device) or "cuda:1". On a GPU images and results are CUDA tensors.
      progress: told of each measurement while tiles are tuned (`CompileOptions.autotune`): how many are made, and how
        many there are.
      check: with an example, run one frame and compare it with what the network itself returns; it costs one frame.
        Not on a canvas and not in the emulator; outputs that are indices, masks or in an order of their own may differ.

    Returns:
      the compiled model; make one session per video stream.

    Raises:
      TraceError: the model cannot be captured.
      PassError: the compiled model runs no frame, or returns something else than the network.
      ToolchainError: no compiler, or no GPU, for the backend and target.
      OptionError: an option or target that is not allowed.
    """
    options = options or CompileOptions()
    network = CapturedNetwork(net, options)
    model = CompiledModel(network, options, check_target(target, options), progress=progress)
    if example is not None:
        model.specialise(example)
        if check and network.sample is not None and options.backend != "emulated":
            check_sample(model, network.sample, type(net).__name__)
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
        self.sample: Sample | None = None  # of the size captured last, as the network itself ran it

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
            dense_macs = _lowered(trace(net, example), CompileOptions())[0].macs
            example = zero_canvas(example, self._options.canvas_px)
        traced = trace(net, example)
        plan, weights, graph_module = _lowered(traced, self._options)
        self._shape = tuple(image.shape)
        self.sample = None if self._options.canvas_px else traced.sample
        return Lowered(
            plan=plan, weights=weights, dense_macs=dense_macs, graph_module=graph_module, out_spec=traced.out_spec
        )


def _lowered(traced: Traced, options: CompileOptions) -> tuple[Plan, Mapping[str, Tensor], torch.fx.GraphModule]:
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
