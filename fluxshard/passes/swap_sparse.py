"""Replaces marked calls by reference calls and islands; decides nothing."""

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
    """Replaces sparse calls and views by calls of `ops/reference.py`, and dense calls by islands.

    Given:
        c (1, 16, 40, 40) = conv2d(x, w)                        # sparse; x (1, 3, 40, 40), w (16, 3, 1, 1)
        f (1, 16, 1600) = flatten(c, 2)                         # dense
        s (1, 16, 1600) = softmax(f, 2)                         # dense
    Result:
        c (1, 16, 40, 40) = reference.conv2d(x, w, stride=(1, 1), …)
        s (1, 16, 1600) = island_0(c)

    Where the image is marked `copied`, its views read `reference.copy(x)`.

    Leaves alone: reference calls that earlier passes made, constants, the image and outputs.
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
    """A norm over channels as ATen ops in NHWC, for an island: islands hold ATen ops only."""
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
