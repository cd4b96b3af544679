"""Decides how every call will run, and says why where it runs whole."""

from __future__ import annotations

from torch import fx

from fluxshard.ir.params import VIEWS
from fluxshard.options import CompileOptions
from fluxshard.passes.support.meta import annotate, info


def mark_sparse(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Marks calls as "sparse" (its cells are recomputed), "view" (nothing is stored) or "dense". Changes no node.

    Given:  c = conv2d(x, …); s = slice(c, 1, 0, 8); m = matmul(…)
    Result: the same; c sparse, s a view, m dense because "a matrix product mixes all positions"

    Views of the image itself are noted on it: they will read a copy.
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
