"""Decides how every call runs: on changed cells, as a view, or dense."""

from __future__ import annotations

from torch import fx

from fluxshard.ir.params import VIEWS
from fluxshard.options import CompileOptions
from fluxshard.passes.support.meta import annotate, info


def mark_sparse(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Marks each call "sparse" (changed cells are recomputed), "view" (nothing is stored) or "dense" (runs whole).

    Given:
        c (1, 16, 40, 40) = conv2d(x, w)                        # x (1, 3, 40, 40), w (16, 3, 1, 1)
        s (1, 8, 40, 40) = slice(c, 1, 0, 8)
        f (1, 8, 1600) = flatten(s, 2)
    Result: the same graph, annotated:
        c (1, 16, 40, 40)  sparse
        s (1, 8, 40, 40)   view
        f (1, 8, 1600)     dense, for the reason "aten.flatten.using_ints: changes the layout of cells"

    A view of the image marks the image as `copied`: its buffer is overwritten each frame, so views read a copy.

    Leaves alone: all nodes; only `node.meta["fluxshard"]` is written. Reasons come from `annotate_receptive_field`.
    """
    del options
    for node in graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        params = info(node).params
        if params is None:
            annotate(node, mode="dense")
        elif params.op in VIEWS:
            annotate(node, mode="view")
            for source in node.all_input_nodes:
                if source.op == "placeholder":
                    annotate(source, copied=True)
        else:
            annotate(node, mode="sparse")
    return graph_module
