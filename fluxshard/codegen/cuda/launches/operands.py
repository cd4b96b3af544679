"""The kernels of one layer and the constants that they read: what is the same in every order and for every stream.

Weights, tables and tiles are allocated here, once; layer_kernels.py describes launches from the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.literals import ACTIVATION_NAMES, activation_numbers, literal
from fluxshard.codegen.common.resampling import lerp
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.memory import AxisTable, Constants, Segments
from fluxshard.codegen.cuda.launches.segments import inputs_of
from fluxshard.codegen.cuda.launches.tiles import Problem, choose_tile
from fluxshard.geometry import table_window, transposed_taps
from fluxshard.ir import params as P
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.stream_layout import Ptr, StreamLayout
from fluxshard.ir.windows import nearest_sources

_KINDS = ("add", "sub", "mul", "div")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """A kernel of a layer, and what it reads besides the frame's cells and maps.

    Attributes:
      kernel: what runs.
      segments, other, residual: the first input, the second operand of a binary op, what the epilogue adds.
      bias, slope: float32 vectors of the epilogue.
      tap_y, tap_x: tables of the window.
      weights: packed.
      one, two, low, high: further operands of rows.cuh.
      problem: what the tile depends on; None where there is none.
      phase: output phase of a transposed convolution; None for other layers.
    """

    kernel: K.Gemm | K.Rows
    segments: tuple[Segment, ...]
    other: tuple[Segment, ...] = ()
    residual: tuple[Segment, ...] = ()
    bias: Ptr | None = None
    slope: Ptr | None = None
    tap_y: Ptr | None = None
    tap_x: Ptr | None = None
    weights: Ptr | None = None
    one: Ptr | None = None
    two: Ptr | None = None
    low: Ptr | None = None
    high: Ptr | None = None
    problem: Problem | None = None
    phase: int | None = None


class OperandAllocator:
    """Chooses the kernels of layers, and allocates what they read.

    Args:
      plan: of the layers.
      layout: of a stream.
      segments: of all values.
      constants: gives the memory.
      tiles: tuned tiles by layer; others follow the rule of tiles.py.
      vectors: values off the grids as rows, with their widths.
    """

    def __init__(
        self, plan: Plan, layout: StreamLayout, segments: Segments, constants: Constants,
        tiles: Mapping[str, K.GemmTile], vectors: Mapping[str, tuple[Ptr, int]],
    ) -> None:  # fmt: skip
        self._plan, self._layout, self._segments, self._constants = plan, layout, segments, constants
        self._tiles, self._vectors, self._target = tiles, vectors, layout.target

    def of(self, layer: LayerSpec) -> tuple[Operands, ...]:
        """One for a sparse layer that does not run in torch; for a transposed convolution one for each output phase."""
        if isinstance(layer.params, P.ConvTranspose2d):
            return self._transposed(layer, layer.params)
        if isinstance(layer.params, P.Conv2d) and layer.params.groups == 1:
            return (self._gemm(layer, "gemm", dict(layer.weights)["weight"], ()),)
        return (self._rows(layer),)

    # ---- parts

    def _axis_tables(self, layer: LayerSpec) -> tuple[AxisTable, AxisTable]:
        assert layer.windows is not None
        grid_in, grid_out = self._plan.grid_of(layer.inputs[0]), self._plan.grid_of(layer.output)
        return (
            self._constants.axis(layer.windows[0], grid_in.height, grid_out.height),
            self._constants.axis(layer.windows[1], grid_in.width, grid_out.width),
        )

    def _finish(self, layer: LayerSpec) -> tuple[K.Finish, tuple[Segment, ...]]:
        act, after = getattr(layer.params, "act", None), getattr(layer.params, "act_after", None)
        roles = dict(layer.weights)
        bias = "shift" if isinstance(layer.params, P.Affine) else "bias"
        residual: tuple[Segment, ...] = ()
        if isinstance(layer.params, P.Conv2d | P.ConvTranspose2d) and len(layer.inputs) == 2:
            residual = self._segments[layer.inputs[1]]
        finish = K.Finish(
            channels=self._plan.value(layer.output).channels,
            act=ACTIVATION_NAMES[act[0]] if act else "NONE",
            act_after=ACTIVATION_NAMES[after[0]] if after else "NONE",
            numbers=(*activation_numbers(act), *activation_numbers(after)),
            bias=bias in roles, slope="slope" in roles, residual=inputs_of(self._layout, residual, rows=True),
        )  # fmt: skip
        return finish, residual

    def _vector(self, name: str, channels: int) -> Ptr:
        width = round_up(channels, self._target.lanes)
        return self._constants.weight("vector", name, (channels, width), 4 * width)

    def _epilogue(self, layer: LayerSpec, finish: K.Finish) -> tuple[Ptr | None, Ptr | None]:
        """Bias and slope."""
        roles = dict(layer.weights)
        bias = roles.get("shift" if isinstance(layer.params, P.Affine) else "bias")
        slope = roles.get("slope")
        return (
            self._vector(bias, finish.channels) if finish.bias and bias else None,
            self._vector(slope, finish.channels) if finish.slope and slope else None,
        )

    # ---- matrix products

    def _problem(self, layer: LayerSpec) -> tuple[Problem, tuple[Segment, ...]]:
        """The problem that decides the tile, and the epilogue's operands."""
        y, x = self._axis_tables(layer)
        inputs = inputs_of(self._layout, self._segments[layer.inputs[0]], rows=False)
        cells = self._plan.grid_of(layer.output).cells
        if isinstance(layer.params, P.ConvTranspose2d):
            cells = -(-cells // (layer.params.stride[0] * layer.params.stride[1]))  # one phase at a time
        finish, residual = self._finish(layer)
        return Problem((y.layout.taps, x.layout.taps), inputs, finish, cells), residual

    def _gemm(self, layer: LayerSpec, kind: str, weight: str, meta: tuple[object, ...]) -> Operands:
        y, x = self._axis_tables(layer)
        problem, residual = self._problem(layer)
        tile = self._tiles.get(layer.name) or choose_tile(self._target, problem)
        gemm = K.Gemm(
            dtype=self._target.dtype, math=self._target.math, tile=tile, taps_y=problem.taps[0], taps_x=problem.taps[1],
            inputs=problem.inputs, finish=problem.finish,
        )  # fmt: skip
        n_bytes = gemm.tiles_n * gemm.steps * tile.bn * tile.bk * self._target.itemsize
        packed = self._constants.weight(kind, weight, (gemm, *meta), n_bytes)
        bias, slope = self._epilogue(layer, problem.finish)
        return Operands(
            kernel=gemm, segments=self._segments[layer.inputs[0]], residual=residual, bias=bias, slope=slope,
            tap_y=y.tap, tap_x=x.tap, weights=packed, problem=problem,
        )  # fmt: skip

    def _transposed(self, layer: LayerSpec, params: P.ConvTranspose2d) -> tuple[Operands, ...]:
        weight = dict(layer.weights)["weight"]
        kernel = next(w.shape for w in self._plan.weights if w.name == weight)[2:]
        y, x = self._axis_tables(layer)
        tables = [
            transposed_taps(k, s, pad, d)
            for k, s, pad, d in zip(kernel, params.stride, params.padding, params.dilation, strict=True)
        ]
        made: list[Operands] = []
        for phase in range(params.stride[0] * params.stride[1]):
            used = []
            for axis, of, table in (
                (y, phase // params.stride[1], tables[0]),
                (x, phase % params.stride[1], tables[1]),
            ):
                taps = [tap for tap, _ in table[of]]
                used.append((*taps, *[None] * (axis.layout.taps - len(taps))))
            meta = (params.groups, *used)
            if params.groups == 1:
                made.append(replace(self._gemm(layer, "transposed", weight, meta), phase=phase))
            else:
                made.append(replace(self._rows(layer, (weight, meta)), phase=phase))
        return tuple(made)

    # ---- anything else that makes rows

    def _rows(self, layer: LayerSpec, phase: tuple[str, tuple[object, ...]] | None = None) -> Operands:
        """A layer that is no matrix product.

        Args:
          layer: the layer.
          phase: of a transposed convolution: name of the weight, and how it is packed.
        """
        params, constants = layer.params, self._constants
        grid_in, grid = self._plan.grid_of(layer.inputs[0]), self._plan.grid_of(layer.output)
        finish, residual = self._finish(layer)
        op, text = OPS[params.op], "0.0f"
        numbers: tuple[tuple[str, int], ...] = ()
        y, x = self._axis_tables(layer)
        taps = y.layout.taps, x.layout.taps
        tap_y, tap_x = y.tap, x.tap
        weights = one = two = low = high = None
        other: tuple[Segment, ...] = ()
        roles = dict(layer.weights)
        channels, lanes = finish.channels, self._target.lanes
        if isinstance(params, P.Conv2d | P.ConvTranspose2d):
            op, numbers, weights = self._convolved(layer, params, taps, phase)
        elif isinstance(params, P.AvgPool2d):
            pairs = (("K", params.kernel), ("S", params.stride), ("P", params.padding))
            numbers = tuple((key + axis, pair[k]) for key, pair in pairs for k, axis in enumerate("HW"))
            numbers += (("H", grid_in.height), ("W", grid_in.width), ("INCLUDE_PAD", int(params.count_include_pad)))
            numbers += (("DIVISOR", params.divisor or 0),)
        elif isinstance(params, P.Affine):
            one = self._vector(roles["scale"], channels)
        elif isinstance(params, P.ChannelNorm):
            ones, zeros = (np.full(round_up(channels, lanes), value, np.float32) for value in (1, 0))
            one = self._vector(roles["gamma"], channels) if "gamma" in roles else constants.table(ones)
            two = self._vector(roles["beta"], channels) if "beta" in roles else constants.table(zeros)
            text = literal(params.eps)
        elif isinstance(params, P.Binary):
            numbers = (("KIND", _KINDS.index(params.kind)), ("SWAPPED", int(params.swapped)))
            numbers += (("CONSTANT", int(params.operand != "value")),)
            if params.operand == "value":
                other = self._segments[layer.inputs[1]]
            elif params.operand == "vector":
                one = self._vectors[layer.inputs[1]][0]
            elif params.operand == "weight":
                one = self._vector(roles["operand"], channels)
            else:
                one = constants.table(np.full(round_up(channels, lanes), params.scalar, np.float32))
        elif isinstance(params, P.Resize):
            scales = params.scale or (None, None)
            sizes = ((grid_in.height, grid.height, scales[0]), (grid_in.width, grid.width, scales[1]))
            if params.mode == "bilinear":
                op, numbers = "bilinear", (("OUT_H", grid.height),)
                axes = [lerp(a, b, scale, params.align_corners) for a, b, scale in sizes]
                low, high = (
                    constants.table(np.concatenate([getattr(axis, side) for axis in axes]).astype(np.int32))
                    for side in ("low", "high")
                )
                one = constants.table(np.concatenate([axis.share for axis in axes]))
            else:
                sources = [table_window([[cell] for cell in nearest_sources(*size)]) for size in sizes]
                tap_y, tap_x = (
                    constants.axis(window, a, b).tap for window, (a, b, _) in zip(sources, sizes, strict=True)
                )
        elif isinstance(params, P.Pad):
            text = literal(params.value)
        segments = self._segments[layer.inputs[0]]
        kernel = K.Rows(
            dtype=self._target.dtype, op=op, inputs=inputs_of(self._layout, segments, rows=op != "grouped"),
            other=inputs_of(self._layout, other, rows=True), finish=finish, taps_y=taps[0], taps_x=taps[1],
            numbers=numbers, literal=text,
        )  # fmt: skip
        bias, slope = self._epilogue(layer, finish)
        return Operands(
            kernel=kernel, segments=segments, other=other, residual=residual, bias=bias, slope=slope, tap_y=tap_y,
            tap_x=tap_x, weights=weights, one=one, two=two, low=low, high=high,
        )  # fmt: skip

    def _convolved(
        self, layer: LayerSpec, params: P.Conv2d | P.ConvTranspose2d, taps: tuple[int, int],
        phase: tuple[str, tuple[object, ...]] | None,
    ) -> tuple[str, tuple[tuple[str, int], ...], Ptr]:  # fmt: skip
        """A convolution with groups: function of rows.cuh, its constants, packed weight."""
        weight, stride = dict(layer.weights)["weight"], self._layout.stores[layer.output].stride
        inside, channels = self._plan.value(layer.inputs[0]).channels, self._plan.value(layer.output).channels
        size = taps[0] * taps[1] * stride * self._target.itemsize
        pairs = (("CIG", inside // params.groups), ("COG", channels // params.groups))
        if phase is not None:
            name, meta = phase
            n_bytes = size * (inside // params.groups)
            return "grouped", pairs, self._constants.weight("transposed", name, (stride, *meta), n_bytes)
        if params.groups == inside == channels:
            return OPS[params.op], (), self._constants.weight("depthwise", weight, (stride,), size)
        n_bytes = size * (inside // params.groups)
        return "grouped", pairs, self._constants.weight("grouped", weight, (stride,), n_bytes)


# op of ir.params -> function of rows.cuh
OPS = {
    "conv2d": "depthwise", "conv_transpose2d": "grouped", "max_pool2d": "max_pool", "avg_pool2d": "avg_pool",
    "pointwise": "copy_rows", "copy": "copy_rows", "affine": "affine", "channel_norm": "channel_norm",
    "binary": "binary", "resize": "gather", "pad": "gather",
}  # fmt: skip
