"""Captures a model as an fx graph of ATen ops, through `torch.export`."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils._pytree import TreeSpec

from fluxshard.errors import TraceError
from fluxshard.passes.capture.allowed import check_graph, check_input, check_signature, refuse_scripts
from fluxshard.passes.capture.functionalize import functionalize, is_in_place
from fluxshard.passes.capture.inline import inline_modes
from fluxshard.passes.capture.private_copy import private_copy
from fluxshard.passes.capture.probe import Sample, probe

_EXPORTING = threading.Lock()  # torch.export keeps modes and loggers of the process: two at once break each other
_QUIET = ("torch._subclasses.fake_tensor", "torch._dynamo", "torch.fx.experimental.symbolic_shapes")


@dataclass(frozen=True, slots=True)
class Traced:
    """A captured model.

    Attributes:
      graph_module: takes one image, returns the model's structure; free of in-place ops; shares the model's parameters.
      out_spec: pytree structure of the output.
      name: class of the model.
      sample: a frame that the model itself has run.
    """

    graph_module: fx.GraphModule
    out_spec: TreeSpec
    name: str
    sample: Sample


def trace(net: nn.Module | ExportedProgram, example: Tensor) -> Traced:
    """Captures `net(example)` in evaluation mode, on a copy that shares the model's tensors; the model is only read.

    The copy runs three frames first: a model that remembers frames is refused.

    Args:
      net: a module, a GraphModule or an exported program that takes one image. Submodules in training mode are captured
        as in evaluation mode; parameters of other floating types as float32.
      example: `(1, C, H, W)` float32; the graph is specialised to its shape.

    Raises:
      TraceError: the model or the example cannot be captured; one line says why and where.
    """
    _check_example(example)
    if not isinstance(net, (nn.Module, ExportedProgram)):
        raise TraceError(
            f"cannot compile a {type(net).__name__}; give an nn.Module, a GraphModule or an ExportedProgram"
        )
    name = type(net).__name__
    if isinstance(net, ExportedProgram):
        check_input(net, example)
    else:
        refuse_scripts(net)
        check_signature(net, name)
    sample = _probe(net, example, name)
    exported = _export(private_copy(net), name, example)
    _check_outputs(exported, name)
    graph_module = _without_guards(exported)
    check_graph(graph_module, name)
    if not functionalize(graph_module):
        exported = _decompose(exported, name)
        graph_module = _without_guards(exported)
    _check_state(exported, graph_module, name)
    out_spec = exported.call_spec.out_spec
    assert out_spec is not None
    return Traced(graph_module, out_spec, name, sample)


def _check_example(example: Tensor) -> None:
    if not isinstance(example, Tensor):
        raise TraceError(f"the example is a {type(example).__name__}; give a float32 tensor of shape (1, C, H, W)")
    if example.dim() != 4 or example.dtype != torch.float32:
        raise TraceError(
            f"the example is {example.dtype} {tuple(example.shape)}; give a float32 tensor of shape (1, C, H, W)"
        )
    if example.shape[0] != 1:
        raise TraceError(
            f"the example has batch {example.shape[0]}; the batch must be 1: give each stream its own session"
        )


def _probe(net: nn.Module | ExportedProgram, example: Tensor, name: str) -> Sample:
    try:
        probed = probe(private_copy(net), tuple(example.shape))
    except Exception as error:  # this runs the user's code, which may raise anything
        raise TraceError(_explain(error, name, tuple(example.shape))) from error
    if probed.remembers is not None:
        what = repr(probed.remembers) if probed.remembers else "something outside its attributes"
        raise TraceError(
            f"{name} changes {what} while it runs, and answers the same frame differently afterwards; compile a model "
            "that keeps no state between frames"
        )
    return probed.sample


def _check_outputs(program: ExportedProgram, name: str) -> None:
    leaves = program.graph.output_node().args[0]
    if not any(isinstance(leaf, fx.Node) for leaf in cast(tuple[object, ...], leaves)):
        raise TraceError(f"{name} returns no tensors; compile a model that returns what it computes")


def _check_state(program: ExportedProgram, graph_module: fx.GraphModule, name: str) -> None:
    signature = program.graph_signature
    mutated = sorted(signature.buffers_to_mutate.values())
    for node in graph_module.graph.nodes:
        if is_in_place(node):  # functionalize left writes to the module's own state only
            mutated.append(str(node.args[0].target if isinstance(node.args[0], fx.Node) else node.args[0]))
        if str(node.target) == "aten.batch_norm.default" and node.args[5] is True and node.args[3] is not None:
            raise TraceError(f"{name} holds a batch norm that was exported in training mode; export it after .eval()")
    if mutated:
        raise TraceError(
            f"{name} changes {mutated[0]!r} while it runs; compile a model that keeps no state between frames"
        )


def _decompose(program: ExportedProgram, name: str) -> ExportedProgram:
    with _EXPORTING, _quiet():
        try:
            return cast(ExportedProgram, program.run_decompositions({}))
        except Exception as error:  # it runs the captured ops again, which may raise anything
            raise TraceError(_explain(error, name, ())) from error


def _export(module: nn.Module, name: str, example: Tensor) -> ExportedProgram:
    with _EXPORTING, _quiet(), torch.no_grad():
        try:
            return torch.export.export(module, (example.detach(),), strict=False)
        except Exception as error:  # export runs the user's code, which may raise anything
            raise TraceError(_explain(error, name, tuple(example.shape))) from error


def _explain(error: Exception, name: str, image: tuple[int, ...]) -> str:
    kind = type(error).__name__
    where = _user_frame(error)
    text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), kind)
    if kind.startswith("GuardOnDataDependent") or "data-dependent" in text.lower():
        return f"{name} decides what to compute from the values of its tensors{where}; compile the part that does not"
    wanted = re.search(r"expected input\[([\d, ]+)\] to have (\d+) channels", text)
    if wanted and wanted[1] == ", ".join(map(str, image)):
        return (
            f"{name} takes images of {wanted[2]} channels{where}, and the image is {image}: give images "
            f"(1, {wanted[2]}, H, W), or a model of {image[1]} channels"
        )
    return f"{name} cannot be captured{where}: {kind}: {first}"


def _user_frame(error: BaseException) -> str:
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    inside = [frame for frame in frames if frame.name not in ("trace", "_export", "compile")]
    return f" at {inside[-1].filename}:{inside[-1].lineno}" if inside else ""


@contextmanager
def _quiet() -> Iterator[None]:
    # Errors reach the user as a TraceError; torch would print its own traces and graphs beside it.
    loggers = [logging.getLogger(name) for name in _QUIET]
    disabled = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        printed = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stderr(printed):
            warnings.simplefilter("ignore")
            yield
        sys.stderr.write(printed.getvalue())  # what the model itself printed
    finally:
        for logger, was in zip(loggers, disabled, strict=True):
            logger.disabled = was


def _without_guards(program: ExportedProgram) -> fx.GraphModule:
    graph_module = program.module()
    assert isinstance(graph_module, fx.GraphModule)
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph_module.graph.erase_node(node)
    if hasattr(graph_module, "_guards_fn"):
        del graph_module._guards_fn
    graph_module._forward_pre_hooks.clear()  # sessions check the shape of the image
    inline_modes(graph_module)
    graph_module.recompile()
    return graph_module
