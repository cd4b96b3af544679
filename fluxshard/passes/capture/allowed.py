"""What cannot be captured, each refused in one line that says why and where."""

from __future__ import annotations

import inspect
import re

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from fluxshard.errors import TraceError
from fluxshard.passes.capture.inline import higher_order


def check_signature(module: nn.Module, name: str) -> None:
    """Refuses models of no or of several inputs."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except ValueError:  # a forward that is no Python function: it says itself what it takes
        return
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in positional if p.default is p.empty]
    required += [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(required) > 1:
        raise TraceError(
            f"{name}.forward needs {len(required)} inputs ({', '.join(required)}); compile a model of one image"
        )
    if not positional and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise TraceError(f"{name}.forward takes no positional input; it must take the image")


def check_input(program: ExportedProgram, example: Tensor) -> None:
    """Refuses an image of another shape than a program was exported for."""
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1:
        raise TraceError(f"the ExportedProgram takes {len(inputs)} inputs; export a model of one image")
    value = inputs[0].meta.get("val")
    if not isinstance(value, Tensor):
        return
    wanted = tuple(size if isinstance(size, int) else None for size in value.shape)
    fits = len(wanted) == 4 and all(want in (None, n) for want, n in zip(wanted, example.shape, strict=True))
    if not fits or value.dtype != example.dtype:
        shape = ", ".join("any" if want is None else str(want) for want in wanted)
        raise TraceError(
            f"the ExportedProgram was exported for {_name(value.dtype)} ({shape}), and the image is "
            f"{_name(example.dtype)} {tuple(example.shape)}: export it for images of this shape, or compile the "
            "nn.Module"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def refuse_scripts(module: nn.Module) -> None:
    """Refuses TorchScript, whose code torch.export cannot see."""
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"its part {path!r}" if path else "it"
            raise TraceError(
                f"{type(module).__name__} cannot be captured: {where} is TorchScript (torch.jit); compile the "
                "nn.Module that it was made from"
            )


def check_graph(graph_module: fx.GraphModule, name: str) -> None:
    """Refuses sizes that depend on values of the image, and ops of higher order that choose while they run."""
    of_image: set[fx.Node] = set()  # numbers of constants, such as strides of a detector, are known when it is compiled
    for node in graph_module.graph.nodes:
        if node.op == "placeholder" or any(source in of_image for source in node.all_input_nodes):
            of_image.add(node)
        if node.op != "call_function" or node not in of_image:
            continue
        op = higher_order(node)
        if op:
            raise TraceError(
                f"{name} chooses what to compute with torch's {op}{source_line(node)}; compile the part that does not"
            )
        value = node.meta.get("val")
        parts = value if isinstance(value, (list, tuple)) else [value]
        sizes: list[object] = [size for part in parts if isinstance(part, Tensor) for size in part.shape]
        sizes += [part for part in parts if isinstance(part, (torch.SymInt, torch.SymFloat, torch.SymBool))]
        if not all(isinstance(size, int) for size in sizes):
            raise TraceError(
                f"{name} makes tensors whose sizes depend on values ({_op(node)}{source_line(node)}); compile the part "
                "before it, and do the rest on its outputs"
            )


def _op(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]


def source_line(node: fx.Node) -> str:
    """` at file:line` of the call in the model's source that a node comes from; empty where it is not known."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', str(node.meta.get("stack_trace") or ""))
    inside = str(torch.__file__).rpartition("/")[0]
    own = [frame for frame in frames if not frame[0].startswith((inside, "<"))]
    return f" at {own[-1][0]}:{own[-1][1]}" if own else ""
