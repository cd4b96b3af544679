"""Rewrites what was marked; decides nothing."""

from __future__ import annotations

import torch
from torch import fx

from fluxshard.geometry import Window
from fluxshard.ir.params import Copy
from fluxshard.ops.reference import REFERENCE
from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import insert, swap
from fluxshard.passes.support.islands import group_islands
from fluxshard.passes.support.meta import annotate, info, shape, take
from fluxshard.passes.support.reference_call import reference_call

aten = torch.ops.aten


def swap_sparse(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Turns sparse calls and views into reference calls, and dense ones into islands.

    Given:  c = conv2d(x, w); m = matmul(…); v = view(m, …)     c sparse, m and v dense
    Result: c = reference.conv2d(x, w, …); v = island_0(c)
    """
    del options
    for node in list(graph_module.graph.nodes):
        if node.op == "placeholder" and info(node).copied:
            _copy_for_views(node)
    for node in list(graph_module.graph.nodes):
        params = info(node).params
        if params is not None and info(node).mode in ("sparse", "view"):
            if node.target not in REFERENCE.values():
                call = reference_call(graph_module, node, params)
                take(call, node)
                swap(node, call)
        elif node.target is REFERENCE["channel_norm"]:
            call = _spell_out_channel_norm(node)
            take(call, node)
            swap(node, call)
    graph_module.graph.eliminate_dead_code()
    return group_islands(graph_module)


def _copy_for_views(image: fx.Node) -> None:
    first = next(user for user in image.graph.nodes if user in image.users)
    copied = insert(first, REFERENCE["copy"], (image,), like=image)
    found = info(image)
    annotate(copied, params=Copy(), grid=found.grid, fields=found.fields, windows=(Window(), Window()), mode="sparse")
    image.replace_all_uses_with(copied, delete_user_cb=lambda user: info(user).mode == "view")


def _spell_out_channel_norm(node: fx.Node) -> fx.Node:
    """The ATen ops of a norm over channels, for an island."""
    x, gamma, beta = node.args
    assert isinstance(x, fx.Node)
    batch, channels, height, width = shape(node)
    after = (batch, height, width, channels)
    last = insert(node, aten.permute.default, (x, [0, 2, 3, 1]), like=node, shape=after)
    norm = insert(
        node, aten.layer_norm.default, (last, [channels], gamma, beta, node.kwargs["eps"]), like=node, shape=after
    )
    for part in (last, norm):
        annotate(part, mode="dense", reason=info(node).reason)
    return insert(node, aten.permute.default, (norm, [0, 3, 1, 2]), like=node)
