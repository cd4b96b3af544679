"""Fuses zero padding into the convolutions that read it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import fx

from fluxshard.ir.params import Conv2d, Pad
from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import swap
from fluxshard.passes.support.meta import annotate, info, take
from fluxshard.passes.support.reference_call import reference_call


def fuse_padding(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Moves zero padding into the convolutions that read it, so that the padded map is never stored.

    Given:
        p (1, 3, 81, 81) = pad(x, [0, 1, 0, 1])                 # x (1, 3, 80, 80)
        y (1, 16, 40, 40) = conv2d(p, w, b, [2, 2])             # w (16, 3, 3, 3)
    Result:
        y (1, 16, 40, 40) = reference.conv2d(x, w, b, stride=(2, 2), padding=((0, 1), (0, 1)), …)

    Leaves alone: padding with other values or modes; crops; padding with any reader that is not a convolution, such as
    the first of two in a row; transposed convolutions.
    """
    del options
    for pad in list(graph_module.graph.nodes):
        params = info(pad).params
        if not isinstance(params, Pad) or params.mode != "constant" or params.value != 0:
            continue
        readers = list(pad.users)
        if min(amount for axis in params.pads for amount in axis) < 0 or not all(
            _is_conv(user, pad) for user in readers
        ):
            continue
        for conv in readers:
            own = cast(Conv2d, info(conv).params)
            (top, bottom), (left, right) = own.padding
            (more_top, more_bottom), (more_left, more_right) = params.pads
            padding = (top + more_top, bottom + more_bottom), (left + more_left, right + more_right)
            conv.replace_input_with(pad, cast(fx.Node, pad.args[0]))
            call = reference_call(graph_module, conv, replace(own, padding=padding))
            take(call, conv)
            annotate(call, params=replace(own, padding=padding))
            swap(conv, call)
    return graph_module


def _is_conv(node: fx.Node, source: fx.Node) -> bool:
    return isinstance(info(node).params, Conv2d) and node.args[0] is source and node.all_input_nodes.count(source) == 1
