"""Fuses activations and residual sums into the op in front of them: one result is stored and compared, not several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from torch import fx

from fluxshard.ir.params import Activation, Affine, Binary, Conv2d, ConvTranspose2d, Params
from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import only_user, swap
from fluxshard.passes.support.meta import info
from fluxshard.passes.support.params_of import activation
from fluxshard.passes.support.reference_call import prelu_slopes, reference_call


@dataclass(slots=True)
class _Chain:
    """An op and the calls after it that become its epilogue; each but the last has the next as its only reader."""

    nodes: list[fx.Node]
    act: Activation | None = None
    residual: fx.Node | None = None
    act_after: Activation | None = None
    prelu: fx.Node | None = None

    @property
    def last(self) -> fx.Node:
        return self.nodes[-1]


def fuse_epilogue(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Fuses activations and residual sums into convolutions, and activations into affine layers and arithmetic.

    Given:
        c (1, 16, 40, 40) = conv2d(x, w, b)                     # x (1, 8, 40, 40), w (16, 8, 1, 1)
        a (1, 16, 40, 40) = relu(c)
        s (1, 16, 40, 40) = add(a, r)                           # r (1, 16, 40, 40), on the same grid
        y (1, 16, 40, 40) = relu(s)
    Result:
        y (1, 16, 40, 40) = reference.conv2d(x, w, b, residual=r, act=("relu",), act_after=("relu",), …)

    Of two convolutions that are added, the later one takes the sum.

    Leaves alone: values with several readers; sums with an operand that is stretched or on another grid; a second
    PReLU; calls that run dense.
    """
    del options
    nodes = graph_module.graph.nodes
    # from the end: of two convolutions that are added, only the later one can read the other's result
    for node in reversed(list(nodes)):
        if isinstance(params := info(node).params, (Conv2d, ConvTranspose2d)):
            _fuse(graph_module, node, params)
    for node in list(nodes):
        if isinstance(params := info(node).params, (Affine, Binary)):
            _fuse(graph_module, node, params)
    return graph_module


def _fuse(root: fx.GraphModule, node: fx.Node, params: Conv2d | ConvTranspose2d | Affine | Binary) -> None:
    if params.act is not None or "residual" in node.kwargs:
        return  # fused before
    chain = _Chain([node])
    chain.act = _take_activation(chain)
    fused: Params
    if isinstance(params, (Affine, Binary)):
        fused = replace(params, act=chain.act)
    else:
        chain.residual = _take_sum(chain)
        if chain.residual is not None:
            chain.act_after = _take_activation(chain)
        fused = replace(params, act=chain.act, act_after=chain.act_after)
    if len(chain.nodes) == 1:
        return
    slope = None if chain.prelu is None else prelu_slopes(root, chain.last, chain.prelu)
    call = reference_call(root, node, fused, before=chain.last, residual=chain.residual, slope=slope)
    swap(chain.last, call)
    for old in reversed(chain.nodes[:-1]):
        root.graph.erase_node(old)


def _take_activation(chain: _Chain) -> Activation | None:
    user = only_user(chain.last)
    if user is None or info(user).params is None or info(user).params.op != "pointwise":  # type: ignore[union-attr]
        return None
    act = activation(user)
    if isinstance(act, str) or (act[0] == "prelu" and chain.prelu is not None):
        return None
    if act[0] == "prelu":
        chain.prelu = user
    chain.nodes.append(user)
    return act


def _take_sum(chain: _Chain) -> fx.Node | None:
    user = only_user(chain.last)
    if user is None or not isinstance(added := info(user).params, Binary):
        return None
    if added.kind != "add" or added.operand != "value" or len(user.args) != 2 or user.kwargs:
        return None
    a, b = cast(tuple[fx.Node, fx.Node], user.args)
    chain.nodes.append(user)
    return b if a is chain.nodes[-2] else a
