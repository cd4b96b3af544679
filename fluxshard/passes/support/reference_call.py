"""Writes a call as a call of the op's definition in `ops/reference.py`."""

from __future__ import annotations

from dataclasses import fields
from typing import cast

from torch import fx
from torch.fx.node import Argument

from fluxshard.ir.params import Affine, Binary, Cat, ChannelNorm, Conv2d, ConvTranspose2d, Params, Pointwise
from fluxshard.ops.reference import REFERENCE
from fluxshard.passes.fold_batchnorm import scale_and_shift
from fluxshard.passes.support.graph_edit import add_constant, argument, constant, insert
from fluxshard.passes.support.meta import shape


def reference_call(
    root: fx.GraphModule,
    node: fx.Node,
    params: Params,
    *,
    before: fx.Node | None = None,
    residual: fx.Node | None = None,
    slope: fx.Node | None = None,
) -> fx.Node:
    """Inserts a reference call with the given parameters on the tensors of a node.

    Args:
      root: the module that owns the constants.
      node: an ATen call or an earlier reference call.
      params: parameters of the new call; they go beyond the node's own where an epilogue is fused.
      before: where to insert; None: at the node.
      residual: `(1, C, H, W)` map that a convolution adds.
      slope: `(C,)` slopes of a PReLU in the epilogue.
    """
    before = before or node
    tensors: tuple[Argument, ...]
    if node.target in REFERENCE.values():
        tensors = tuple(node.args)
    else:
        tensors = _tensors(root, before, node, params)
    extra: dict[str, Argument] = {} if slope is None else {"slope": slope}
    if residual is not None:
        extra["residual"] = residual
    attributes = {f.name: getattr(params, f.name) for f in fields(params)}
    return insert(before, REFERENCE[params.op], tensors, {**extra, **attributes}, like=node)


def _tensors(root: fx.GraphModule, before: fx.Node, node: fx.Node, params: Params) -> tuple[Argument, ...]:
    match params:
        case Conv2d() | ConvTranspose2d():
            bias = cast(Argument, argument(node, 2, "bias"))
            return (node.args[0], node.args[1]) if bias is None else (node.args[0], node.args[1], bias)
        case Affine():
            return (node.args[0], *_scale_and_shift(root, before, node))
        case Binary(operand="scalar"):
            return (node.args[1] if params.swapped else node.args[0],)
        case Binary():
            a, b = node.args[:2]
            return (b, a) if params.swapped else (a, b)
        case Cat():
            return tuple(cast(list[Argument], node.args[0]))
        case Pointwise(act=("prelu",)):
            return node.args[0], prelu_slopes(root, before, node)
        case ChannelNorm():
            return tuple(node.args)
        case _:
            return (node.args[0],)


def _scale_and_shift(root: fx.GraphModule, before: fx.Node, node: fx.Node) -> tuple[fx.Node, fx.Node]:
    found = scale_and_shift(root, node)
    assert found is not None, "a batch norm with constant statistics"
    mean = cast(fx.Node, node.args[3])
    path = str(mean.target).rpartition(".")[0]
    names = [f"{path}.{part}".lstrip(".") for part in ("scale", "shift")]
    scale, shift = (add_constant(root, before, name, value.float()) for name, value in zip(names, found, strict=True))
    return scale, shift


def prelu_slopes(root: fx.GraphModule, before: fx.Node, node: fx.Node) -> fx.Node:
    """A `get_attr` of the `(C,)` slopes of a PReLU; a single slope is repeated."""
    source = cast(fx.Node, node.args[1])
    slopes = constant(root, source)
    assert slopes is not None, "a PReLU with constant slopes"
    channels = shape(node)[1]
    if tuple(slopes.shape) == (channels,):
        return source
    return add_constant(root, before, f"{source.target}_expanded", slopes.reshape(-1).expand(channels).contiguous())
