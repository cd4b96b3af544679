"""ATen overloads that become layers of a Plan, and why the others run dense.

Conditions on the arguments of an op are in `passes/support/params_of.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpInfo:
    """Lowering rule of an ATen overload.

    Attributes:
      op: key of `ir.params.PARAMS`; None for ops that always run dense.
      why_not: why they do, as `explain()` prints it.
      counts: True where multiply-accumulates are counted.
    """

    op: str | None = None
    why_not: str = ""
    counts: bool = False


def _act() -> OpInfo:
    return OpInfo("pointwise")


_GLOBAL = "pools over the whole map"
_MATRIX = "a matrix product mixes all positions"
_ATTENTION = "attention mixes all positions"
_RESHAPE = "changes the layout of cells"
_UNKNOWN = "no cell-wise kernel for it"

OPS: Mapping[str, OpInfo] = {
    # ops with windows
    "aten.conv2d.default": OpInfo("conv2d", counts=True),
    "aten.conv_transpose2d.input": OpInfo("conv_transpose2d", counts=True),
    "aten.max_pool2d.default": OpInfo("max_pool2d"),
    "aten.avg_pool2d.default": OpInfo("avg_pool2d"),
    "aten.pad.default": OpInfo("pad"),
    "aten.upsample_nearest2d.default": OpInfo("resize"),
    "aten.upsample_bilinear2d.default": OpInfo("resize"),
    # per-cell ops
    "aten.batch_norm.default": OpInfo("affine"),
    "aten.relu.default": _act(),
    "aten.relu6.default": _act(),
    "aten.silu.default": _act(),
    "aten.hardswish.default": _act(),
    "aten.hardsigmoid.default": _act(),
    "aten.gelu.default": _act(),
    "aten.sigmoid.default": _act(),
    "aten.tanh.default": _act(),
    "aten.mish.default": _act(),
    "aten.leaky_relu.default": _act(),
    "aten.elu.default": _act(),
    "aten.clamp.default": _act(),
    "aten.prelu.default": _act(),
    "aten.add.Tensor": OpInfo("binary"),
    "aten.sub.Tensor": OpInfo("binary"),
    "aten.mul.Tensor": OpInfo("binary"),
    "aten.div.Tensor": OpInfo("binary"),
    # views
    "aten.cat.default": OpInfo("cat"),
    "aten.slice.Tensor": OpInfo("channel_slice"),
    # dense ops
    "aten.adaptive_avg_pool2d.default": OpInfo(why_not=_GLOBAL),
    "aten.adaptive_max_pool2d.default": OpInfo(why_not=_GLOBAL),
    "aten.mean.dim": OpInfo(why_not="means over an axis"),
    "aten.mean.default": OpInfo(why_not=_GLOBAL),
    "aten.sum.dim_IntList": OpInfo(why_not="sums over an axis"),
    "aten.amax.default": OpInfo(why_not="maximum over an axis"),
    "aten.max.dim": OpInfo(why_not="maximum over an axis"),
    "aten.softmax.int": OpInfo(why_not="softmax over an axis"),
    "aten._softmax.default": OpInfo(why_not="softmax over an axis"),
    "aten.log_softmax.int": OpInfo(why_not="softmax over an axis"),
    "aten.group_norm.default": OpInfo(why_not="its statistics are over the whole map"),
    "aten.instance_norm.default": OpInfo(why_not="its statistics are over the whole map"),
    "aten.layer_norm.default": OpInfo(why_not="a layer norm that is not over the channels of a cell"),
    "aten.matmul.default": OpInfo(why_not=_MATRIX, counts=True),
    "aten.bmm.default": OpInfo(why_not=_MATRIX, counts=True),
    "aten.mm.default": OpInfo(why_not=_MATRIX, counts=True),
    "aten.addmm.default": OpInfo(why_not=_MATRIX, counts=True),
    "aten.baddbmm.default": OpInfo(why_not=_MATRIX, counts=True),
    "aten.einsum.default": OpInfo(why_not=_MATRIX, counts=True),
    "aten.linear.default": OpInfo(why_not="a linear layer that is not per cell", counts=True),
    "aten.conv1d.default": OpInfo(why_not="a convolution along one axis of a sequence", counts=True),
    "aten.conv2d.padding": OpInfo(why_not="a padding that depends on the size", counts=True),
    "aten.scaled_dot_product_attention.default": OpInfo(why_not=_ATTENTION, counts=True),
    "aten.view.default": OpInfo(why_not=_RESHAPE),
    "aten.reshape.default": OpInfo(why_not=_RESHAPE),
    "aten.flatten.using_ints": OpInfo(why_not=_RESHAPE),
    "aten.permute.default": OpInfo(why_not=_RESHAPE),
    "aten.transpose.int": OpInfo(why_not=_RESHAPE),
    "aten.pixel_shuffle.default": OpInfo(why_not=_RESHAPE),
    "aten.pixel_unshuffle.default": OpInfo(why_not=_RESHAPE),
    "aten.unsqueeze.default": OpInfo(why_not=_RESHAPE),
    "aten.squeeze.dim": OpInfo(why_not=_RESHAPE),
    "aten.roll.default": OpInfo(why_not="moves cells around the map"),
    "aten.flip.default": OpInfo(why_not="moves cells across the map"),
    "aten.grid_sampler.default": OpInfo(why_not="reads positions that depend on values"),
    "aten.channel_shuffle.default": OpInfo(why_not="permutes channels"),
    "aten.native_channel_shuffle.default": OpInfo(why_not="permutes channels"),
}


def op_info(overload: str) -> OpInfo:
    """The entry of an overload such as `aten.relu.default`; overloads without one run dense."""
    return OPS.get(overload, OpInfo(why_not=_UNKNOWN))
