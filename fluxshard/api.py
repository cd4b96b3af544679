"""compile(): captures a network and joins passes, code generation and runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.export import ExportedProgram

from fluxshard.backends import check_target
from fluxshard.compiled.check_sample import check_sample
from fluxshard.compiled.example import Example, example_image
from fluxshard.compiled.load import open_loaded
from fluxshard.compiled.lowered import Lowered
from fluxshard.compiled.model import CompiledModel
from fluxshard.errors import ShapeError, TraceError
from fluxshard.ir.plan import Plan
from fluxshard.models.loading.load import loaded_from
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import CompileOptions, checked_options
from fluxshard.passes import run_passes
from fluxshard.passes.capture.device_copy import moved, tensors_of
from fluxshard.passes.capture.probe import Sample
from fluxshard.passes.capture.trace import Traced, trace
from fluxshard.passes.lower import lower
from fluxshard.runtime.reuse.canvas import zero_canvas

__all__ = ["CapturedNetwork", "CompiledModel", "Net", "compile"]

Net: TypeAlias = torch.nn.Module | torch.fx.GraphModule | ExportedProgram


def compile(
    net: Net | LoadedModel | Path | str,
    example: Example | None = None,
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
        and in float32. The copy runs a few frames first: a model that remembers frames is refused. Or the path of a
        weights file, as for `fluxshard run`, or of a saved model, which is opened; or an `ultralytics.YOLO`. What their
        outputs mean is known afterwards (`CompiledModel.task`, `names`, `detections`).
      example: an image as for `Session.run`, `(image,)`, or a shape `(1, C, H, W)`; only the shape matters. None
        specialises at the first frame; in both cases another size is compiled when it first comes.
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
      ModelError: a weights file is missing, damaged or not a model.
      ShapeError: an example that is no image of batch 1.
      PassError: the compiled model runs no frame, or returns something else than the network.
      ToolchainError: no compiler, or no GPU, for the backend and target.
      OptionError: an option or target that is not allowed.
    """
    options = checked_options(options, CompileOptions)
    target = check_target(target, options)
    image = None if example is None else example_image(example)
    loaded = loaded_from(net)
    if loaded is not None and loaded.saved is not None:
        return open_loaded(loaded, loaded.saved, image, options=options, target=target)
    module = _checked(net) if loaded is None else loaded.net
    network = CapturedNetwork(module, options)
    model = CompiledModel(network, options, target, progress=progress, loaded=loaded)
    if image is not None:
        model.specialise(image)
        if check and network.sample is not None and options.backend != "emulated":
            check_sample(model, network.sample, type(module).__name__)
    return model


def _checked(net: Any) -> Net:
    if isinstance(net, (torch.nn.Module, ExportedProgram)):
        return net
    seen = f"the class {net.__name__} itself" if isinstance(net, type) else f"a {type(net).__name__}"
    raise TraceError(
        f"cannot compile {seen}; give an nn.Module, a GraphModule, an ExportedProgram, an ultralytics.YOLO, or the "
        "path of a weights file"
    )


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
