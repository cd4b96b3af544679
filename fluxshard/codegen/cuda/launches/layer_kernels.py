"""The kernels of one layer, and what they are given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.literals import activation_numbers, literal
from fluxshard.codegen.common.resampling import lerp
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cpp import families
from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.args import Args, Ptr, i, p
from fluxshard.codegen.cuda.launches.memory import AxisTable, Memory, Store
from fluxshard.codegen.cuda.launches.segments import inputs_of, segment_args
from fluxshard.codegen.cuda.launches.tiles import Problem, choose_tile
from fluxshard.geometry import table_window, transposed_taps
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.windows import nearest_sources

Made = tuple[K.Kernel, Args, int]  # kernel, arguments, blocks that all cells keep busy
_KINDS = ("add", "sub", "mul", "div")


class LayerKernels:
    """See the module's docstring.

    Args:
      plan, target, memory: of the model.
      tiles: tuned tiles by layer.

    Attributes:
      vectors: values off the grids as rows of the width of the layers that read them.
      tiles: the tile of every GEMM, by layer.
    """

    def __init__(self, plan: Plan, target: CudaTarget, memory: Memory, tiles: Mapping[str, K.GemmTile]) -> None:
        self.plan, self.target, self.memory = plan, target, memory
        self.tiles = dict(tiles)
        self.vectors = self._vector_rows()
        self._partial: Ptr | None = None
        self._counters: Ptr | None = None
        self._pick: Ptr | None = None
        sparse = [
            layer for layer in plan.layers if layer.mode == "sparse" and not memory.is_dense(layer.name, layer.params)
        ]
        made = [(kernel, layer) for layer in sparse for kernel, _, _ in self.launches(layer, False, None)]
        gemms = [(k, plan.grid_of(layer.output).cells) for k, layer in made if isinstance(k, K.Gemm)]
        if gemms:
            self._partial = memory.state.take(max(kernel.partial_bytes(cells) for kernel, cells in gemms))
            self._counters = memory.state.take(4 * max(kernel.tiles(cells) for kernel, cells in gemms))
        picks = [
            plan.grid_of(layer.output).cells * layer.params.stride[0] * layer.params.stride[1]
            for layer in sparse
            if isinstance(layer.params, P.ConvTranspose2d)
        ]
        if picks:
            self._pick = memory.state.take(4 * max(picks))

    def pick(self, n: int) -> Ptr:
        """Room for `n` candidates sorted by phase."""
        assert self._pick is not None
        return self._pick

    def launches(self, layer: LayerSpec, planned: bool, pick: tuple[Ptr, Ptr] | None) -> list[Made]:
        """What runs for a layer once its candidates are known.

        Args:
          layer: sparse, not in torch.
          planned: cells and maps are those of the grid.
          pick: candidates sorted by phase, and their counts, for transposed convolutions.
        """
        if isinstance(layer.params, P.ConvTranspose2d):
            return self._transposed(layer, layer.params, planned, pick)
        if isinstance(layer.params, P.Conv2d) and layer.params.groups == 1:
            weight = dict(layer.weights)["weight"]
            return [self._gemm(layer, planned, "gemm", weight, (), None, None)]
        return [self._rows(layer, planned)]

    def from_dense(self, layer: LayerSpec, name: str) -> Made:
        """Takes over an output of torch, compared with the cache."""
        m, grid = self.memory, self.plan.grid_of(name)
        finish = K.Finish(channels=self.plan.value(name).channels)
        kernel = K.Rows(
            dtype=self.target.dtype, op="from_dense", inputs=K.NOTHING, finish=finish, numbers=(("CELLS", grid.cells),)
        )
        out = self._out(layer, m.stores[name], False, finish, None, own=True)
        args = out + p(None, None, None, None, None, None, None, None, None, None, m.dense_of[name], None)
        return kernel, args, self._row_blocks(kernel, grid.cells)

    def problem(self, layer: LayerSpec) -> Problem | None:
        """What the tile of a layer depends on; None for layers that are no GEMM."""
        if not isinstance(layer.params, P.Conv2d | P.ConvTranspose2d) or layer.params.groups != 1:
            return None
        y, x = self._axis_tables(layer)
        inputs = inputs_of(self.memory, self.memory.segments[layer.inputs[0]], rows=False)
        cells = self.plan.grid_of(layer.output).cells
        if isinstance(layer.params, P.ConvTranspose2d):
            cells = -(-cells // (layer.params.stride[0] * layer.params.stride[1]))  # one phase at a time
        return Problem((y.layout.taps, x.layout.taps), inputs, self._finish(layer)[0], cells)

    # ---- parts

    def _finish(self, layer: LayerSpec) -> tuple[K.Finish, tuple[Segment, ...]]:
        act, after = getattr(layer.params, "act", None), getattr(layer.params, "act_after", None)
        roles = dict(layer.weights)
        bias = "shift" if isinstance(layer.params, P.Affine) else "bias"
        residual: tuple[Segment, ...] = ()
        if isinstance(layer.params, P.Conv2d | P.ConvTranspose2d) and len(layer.inputs) == 2:
            residual = self.memory.segments[layer.inputs[1]]
        finish = K.Finish(
            channels=self.plan.value(layer.output).channels,
            act=families.NUMBERS[act[0]] if act else "NONE",
            act_after=families.NUMBERS[after[0]] if after else "NONE",
            numbers=(*activation_numbers(act), *activation_numbers(after)),
            bias=bias in roles, slope="slope" in roles, residual=inputs_of(self.memory, residual, rows=True),
        )  # fmt: skip
        return finish, residual

    def _vector(self, name: str, channels: int) -> Ptr:
        width = round_up(channels, self.target.lanes)
        return self.memory.constants.weight("vector", name, (channels, width), 4 * width)

    def _out(
        self, layer: LayerSpec, store: Store, planned: bool, finish: K.Finish, n: Ptr | None, own: bool = False
    ) -> Args:
        """Struct Out."""
        m, roles = self.memory, dict(layer.weights)
        grid = m.grids[store.grid]
        shared = planned and not own
        args = p(m.control, m.key, n or (grid.n if shared else m.n_of[store.name]))
        args += p(grid.list, grid.rows) if shared else p(m.list, m.rows)
        args += p(store.pool, *store.maps, None if shared else store.mask)
        args += p(m.tau + 4 * self.plan.layers.index(layer), None if own else grid.work) + grid.field
        bias = roles.get("shift" if isinstance(layer.params, P.Affine) else "bias")
        slope = roles.get("slope")
        args += p(
            self._vector(bias, finish.channels) if finish.bias and bias else None,
            self._vector(slope, finish.channels) if finish.slope and slope else None,
        )
        return args + i(store.stride, self.plan.grids[store.grid].width)

    def _axis_tables(self, layer: LayerSpec) -> tuple[AxisTable, AxisTable]:
        assert layer.windows is not None
        grid_in, grid_out = self.plan.grid_of(layer.inputs[0]), self.plan.grid_of(layer.output)
        return (
            self.memory.axis(layer.windows[0], grid_in.height, grid_out.height),
            self.memory.axis(layer.windows[1], grid_in.width, grid_out.width),
        )

    def _row_blocks(self, kernel: K.Rows, cells: int) -> int:
        per_block = kernel.threads // 32 if kernel.op == "channel_norm" else kernel.threads // kernel.granules or 1
        return -(-cells // per_block)

    def _gemm(
        self, layer: LayerSpec, planned: bool, kind: str, weight: str, meta: tuple[object, ...], n: Ptr | None,
        pick: Ptr | None,
    ) -> Made:  # fmt: skip
        m, segments = self.memory, self.memory.segments[layer.inputs[0]]
        y, x = self._axis_tables(layer)
        problem = self.problem(layer)
        assert problem is not None
        taps, inputs = problem.taps, problem.inputs
        finish, residual = self._finish(layer)
        store, cells = m.stores[layer.output], self.plan.grid_of(layer.output).cells
        tile = self.tiles.get(layer.name)
        if tile is None:
            tile = self.tiles[layer.name] = choose_tile(self.target, problem)
        gemm = K.Gemm(
            dtype=self.target.dtype, math=self.target.math, tile=tile, taps_y=taps[0], taps_x=taps[1], inputs=inputs,
            finish=finish,
        )  # fmt: skip
        n_bytes = gemm.tiles_n * gemm.steps * tile.bn * tile.bk * self.target.itemsize
        packed = m.constants.weight(kind, weight, (gemm, *meta), n_bytes)
        args = self._out(layer, store, planned, finish, n) + segment_args(m, segments, planned=planned)
        args += segment_args(m, residual, planned=planned) + p(y.tap, x.tap, packed)
        args += p(self._partial, self._counters, pick)
        return gemm, args, gemm.tiles(cells) * tile.splits

    def _transposed(
        self, layer: LayerSpec, params: P.ConvTranspose2d, planned: bool, pick: tuple[Ptr, Ptr] | None
    ) -> list[Made]:
        weight = dict(layer.weights)["weight"]
        kernel = next(w.shape for w in self.plan.weights if w.name == weight)[2:]
        y, x = self._axis_tables(layer)
        cells = self.plan.grid_of(layer.output).cells
        tables = [
            transposed_taps(k, s, pad, d)
            for k, s, pad, d in zip(kernel, params.stride, params.padding, params.dilation, strict=True)
        ]
        made = []
        for phase in range(params.stride[0] * params.stride[1]):
            used = []
            for axis, of, table in (
                (y, phase // params.stride[1], tables[0]),
                (x, phase % params.stride[1], tables[1]),
            ):
                taps = [tap for tap, _ in table[of]]
                used.append((*taps, *[None] * (axis.layout.taps - len(taps))))
            chosen = None if pick is None else pick[0] + 4 * phase * cells
            n = None if pick is None else pick[1] + 4 * phase
            meta = (params.groups, *used)
            if params.groups == 1:
                made.append(self._gemm(layer, planned, "transposed", weight, meta, n, chosen))
            else:
                made.append(self._rows(layer, planned, (weight, meta, n, chosen)))
        return made

    def _rows(
        self,
        layer: LayerSpec,
        planned: bool,
        phase: tuple[str, tuple[object, ...], Ptr | None, Ptr | None] | None = None,
    ) -> Made:
        m, params = self.memory, layer.params
        segments, store = m.segments[layer.inputs[0]], m.stores[layer.output]
        grid_in, grid = self.plan.grid_of(layer.inputs[0]), self.plan.grid_of(layer.output)
        finish, residual = self._finish(layer)
        op, text = _OPS[params.op], "0.0f"
        numbers: tuple[tuple[str, int], ...] = ()
        y, x = self._axis_tables(layer)
        taps = y.layout.taps, x.layout.taps
        tap_y: Ptr | None = y.tap
        tap_x: Ptr | None = x.tap
        weights = one = two = low = high = None
        other: tuple[Segment, ...] = ()
        roles = dict(layer.weights)
        channels, lanes = finish.channels, self.target.lanes
        n = pick = None
        if isinstance(params, P.Conv2d | P.ConvTranspose2d):
            inside = self.plan.value(layer.inputs[0]).channels
            size = taps[0] * taps[1] * store.stride * self.target.itemsize
            if phase is not None:
                name, meta, n, pick = phase
                op, numbers = "grouped", (("CIG", inside // params.groups), ("COG", channels // params.groups))
                meta = (store.stride, *meta)
                weights = m.constants.weight("transposed", name, meta, size * (inside // params.groups))
            elif params.groups == inside == channels:
                weights = m.constants.weight("depthwise", roles["weight"], (store.stride,), size)
            else:
                op, numbers = "grouped", (("CIG", inside // params.groups), ("COG", channels // params.groups))
                size *= inside // params.groups
                weights = m.constants.weight("grouped", roles["weight"], (store.stride,), size)
        elif isinstance(params, P.AvgPool2d):
            pairs = (("K", params.kernel), ("S", params.stride), ("P", params.padding))
            numbers = tuple((key + axis, pair[k]) for key, pair in pairs for k, axis in enumerate("HW"))
            numbers += (("H", grid_in.height), ("W", grid_in.width), ("INCLUDE_PAD", int(params.count_include_pad)))
            numbers += (("DIVISOR", params.divisor or 0),)
        elif isinstance(params, P.Affine):
            one = self._vector(roles["scale"], channels)
        elif isinstance(params, P.ChannelNorm):
            ones, zeros = (np.full(round_up(channels, lanes), value, np.float32) for value in (1, 0))
            one = self._vector(roles["gamma"], channels) if "gamma" in roles else m.constants.table(ones)
            two = self._vector(roles["beta"], channels) if "beta" in roles else m.constants.table(zeros)
            text = literal(params.eps)
        elif isinstance(params, P.Binary):
            numbers = (("KIND", _KINDS.index(params.kind)), ("SWAPPED", int(params.swapped)))
            numbers += (("CONSTANT", int(params.operand != "value")),)
            if params.operand == "value":
                other = m.segments[layer.inputs[1]]
            elif params.operand == "vector":
                one = self.vectors[layer.inputs[1]][0]
            elif params.operand == "weight":
                one = self._vector(roles["operand"], channels)
            else:
                one = m.constants.table(np.full(round_up(channels, lanes), params.scalar, np.float32))
        elif isinstance(params, P.Resize):
            scales = params.scale or (None, None)
            sizes = ((grid_in.height, grid.height, scales[0]), (grid_in.width, grid.width, scales[1]))
            if params.mode == "bilinear":
                op, numbers = "bilinear", (("OUT_H", grid.height),)
                axes = [lerp(a, b, scale, params.align_corners) for a, b, scale in sizes]
                low, high = (
                    m.constants.table(np.concatenate([getattr(axis, side) for axis in axes]).astype(np.int32))
                    for side in ("low", "high")
                )
                one = m.constants.table(np.concatenate([axis.share for axis in axes]))
            else:
                sources = [table_window([[cell] for cell in nearest_sources(*size)]) for size in sizes]
                tap_y, tap_x = (m.axis(window, a, b).tap for window, (a, b, _) in zip(sources, sizes, strict=True))
        elif isinstance(params, P.Pad):
            text = literal(params.value)
        kernel = K.Rows(
            dtype=self.target.dtype, op=op, inputs=inputs_of(m, segments, rows=op != "grouped"),
            other=inputs_of(m, other, rows=True), finish=finish, taps_y=taps[0], taps_x=taps[1], numbers=numbers,
            literal=text,
        )  # fmt: skip
        args = self._out(layer, store, planned, finish, n) + segment_args(m, segments, planned=planned)
        args += segment_args(m, other, planned=planned) + segment_args(m, residual, planned=planned)
        args += p(tap_y, tap_x, weights, one, two, low, high, None, pick)
        return kernel, args, self._row_blocks(kernel, grid.cells)

    def _vector_rows(self) -> dict[str, tuple[Ptr, int]]:
        widths: dict[str, int] = {}
        for layer in self.plan.layers:
            if isinstance(layer.params, P.Binary) and layer.params.operand == "vector":
                width = round_up(self.plan.value(layer.output).channels, self.target.lanes)
                widths[layer.inputs[1]] = max(width, widths.get(layer.inputs[1], 0))
        return {name: (self.memory.state.take(4 * width), width) for name, width in widths.items()}


_OPS = {
    "conv2d": "depthwise", "conv_transpose2d": "grouped", "max_pool2d": "max_pool", "avg_pool2d": "avg_pool",
    "pointwise": "copy_rows", "copy": "copy_rows", "affine": "affine", "channel_norm": "channel_norm",
    "binary": "binary", "resize": "gather", "pad": "gather",
}  # fmt: skip
