"""Gives every op one spelling, so that later passes need to know only that one."""

from __future__ import annotations

import torch
from torch import fx

from fluxshard.options import CompileOptions
from fluxshard.passes.canonical.activation_patterns import recognise_activations
from fluxshard.passes.canonical.channels_last import move_permutes
from fluxshard.passes.canonical.fold_constants import fold_constants
from fluxshard.passes.canonical.op_variants import respell
from fluxshard.passes.canonical.operands import normalise_operands
from fluxshard.passes.canonical.simplify import drop_identities
from fluxshard.passes.support.graph_edit import insert


def canonicalize(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Rewrites the captured graph in the vocabulary of `ops/table.py`.

    Given:  c = convolution(x, w, …); d = dropout(c, 0.5, False); s = sigmoid(d); y = mul(d, s)
    Result: c = conv2d(x, w, …); y = silu(c)

    Leaves alone: ops that are in no rule; they run whole.
    """
    del options
    fold_constants(graph_module)  # first: weights are get_attr nodes for every rule below
    drop_identities(graph_module)
    respell(graph_module)
    recognise_activations(graph_module)  # knows the plain spelling of sums and products only
    normalise_operands(graph_module)
    move_permutes(graph_module)
    drop_identities(graph_module)  # what the rules left: permutes that met their inverse, slices of everything
    _call_constant_outputs(graph_module)
    return graph_module


def _call_constant_outputs(graph_module: fx.GraphModule) -> None:
    """Outputs are what calls return: constants that the model returns are copied by one."""
    output = graph_module.graph.output_node()
    for source in list(output.all_input_nodes):
        if source.op == "get_attr":
            copied = insert(output, torch.ops.aten.clone.default, (source,), like=source)
            output.replace_input_with(source, copied)
