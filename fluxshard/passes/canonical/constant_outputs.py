"""Makes every output of a graph the result of a call."""

from __future__ import annotations

import torch
from torch import fx

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import insert


def copy_constant_outputs(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Clones constants that the model returns: an output of a Plan is a value, never a weight.

    Given:
        strides (3,) = get_attr[strides]
        y (1, 16, 40, 40) = conv2d(x, w)
        return y, strides
    Result:
        strides (3,) = get_attr[strides]
        y (1, 16, 40, 40) = conv2d(x, w)
        clone (3,) = clone(strides)
        return y, clone

    Leaves alone: outputs that are calls, the image, numbers, strings and None.
    """
    del options
    output = graph_module.graph.output_node()
    for source in list(output.all_input_nodes):
        if source.op == "get_attr":
            copied = insert(output, torch.ops.aten.clone.default, (source,), like=source)
            output.replace_input_with(source, copied)
    return graph_module
