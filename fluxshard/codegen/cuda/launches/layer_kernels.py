"""The launches of one layer whose candidates are known: its kernels with their structs of arguments."""

from __future__ import annotations

from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.allocation import Allocation
from fluxshard.codegen.cuda.launches.launch import Args, Launch, Order, field_args, i, p
from fluxshard.codegen.cuda.launches.operands import Operands
from fluxshard.codegen.cuda.launches.segments import segment_args
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.stream_layout import Ptr, Store


class LayerKernels:
    """See the module's docstring.

    Args:
      plan: of the layers.
      memory: allocated for it.
    """

    def __init__(self, plan: Plan, memory: Allocation) -> None:
        self._plan, self._memory = plan, memory
        self._index = {layer.name: index for index, layer in enumerate(plan.layers)}

    def launches(self, layer: LayerSpec, planned: bool, pick: tuple[Ptr, Ptr] | None) -> list[Launch]:
        """Launches of a layer once its candidates are known.

        Args:
          layer: sparse, not in torch.
          planned: cells and maps are those of the grid.
          pick: candidates sorted by phase, and their counts, for transposed convolutions.
        """
        store, cells = self._memory.layout.stores[layer.output], self._plan.grid_of(layer.output).cells
        made = []
        for operands in self._memory.operands[layer.name]:
            n, chosen = None, None
            if operands.phase is not None and pick is not None:
                chosen, n = pick[0] + 4 * operands.phase * cells, pick[1] + 4 * operands.phase
            args = self._out(layer.name, store, planned, operands, n) + self._inputs(operands, planned)
            args += p(operands.tap_y, operands.tap_x, operands.weights)
            if isinstance(operands.kernel, K.Gemm):
                early = planned and chosen is None and all(map(self._is_planned, operands.segments))
                args += p(self._memory.partial, self._memory.counters, chosen) + i(int(early), 0)
                blocks = operands.kernel.blocks(cells)
            else:
                args += p(operands.one, operands.two, operands.low, operands.high, None, chosen)
                blocks = _row_blocks(operands.kernel, cells)
            made.append(Launch(kernel=operands.kernel, args=args, blocks=blocks, layer=layer.name))
        return made

    def from_dense(self, layer: LayerSpec, name: str) -> Launch:
        """Takes over an output of torch, compared with the cache."""
        layout, grid = self._memory.layout, self._plan.grid_of(name)
        finish = K.Finish(channels=self._plan.value(name).channels)
        kernel = K.Rows(
            dtype=layout.target.dtype, op="from_dense", inputs=K.NOTHING, finish=finish,
            numbers=(("CELLS", grid.cells),),
        )  # fmt: skip
        args = self._out(layer.name, layout.stores[name], False, None, None)
        args += p(*(None,) * 10, layout.dense_of[name], None)
        return Launch(kernel=kernel, args=args, blocks=_row_blocks(kernel, grid.cells), layer=layer.name)

    def island(self, layer: LayerSpec, order: Order) -> Launch:
        """An island that is generated."""
        made, m = self._memory.islands[layer.name], self._memory.layout
        args = p(m.control, m.key, *(made.constants or (None,)), *(m.cached_of[name] for name in made.outputs))
        for segments in made.segments:
            args += segment_args(m, segments, planned=order.planned)
        args += i(int(not order.remap), 0)
        return Launch(kernel=made.kernel, args=args, blocks=made.kernel.tiles, layer=layer.name)

    def _out(self, layer: str, store: Store, planned: bool, operands: Operands | None, n: Ptr | None) -> Args:
        """Struct Out.

        Args:
          layer: whose threshold counts.
          store: what is written.
          planned: cells and maps are those of the grid.
          operands: of the epilogue; None where torch computed the rows, whose candidates are never given.
          n: how many candidates there are, where that is not the store's or grid's count.
        """
        m = self._memory.layout
        grid = m.grids[store.grid]
        args = p(m.control, m.key, n or (grid.n if planned else m.n_of[store.name]))
        args += p(grid.list, grid.rows) if planned else p(m.list, m.rows)
        args += p(store.pool, *store.maps, None if planned else store.mask)
        args += p(m.tau + 4 * self._index[layer], grid.work if operands else None) + field_args(grid)
        args += p(operands.bias, operands.slope) if operands else p(None, None)
        return args + i(store.stride, self._plan.grids[store.grid].width)

    def _is_planned(self, segment: Segment) -> bool:
        """Whether a planned frame knows a segment's rows before its first layer."""
        layout = self._memory.layout
        return segment.store < 0 or not layout.keeps_maps(layout.by_index[segment.store].name)

    def _inputs(self, operands: Operands, planned: bool) -> Args:
        layout = self._memory.layout
        args = segment_args(layout, operands.segments, planned=planned)
        if isinstance(operands.kernel, K.Rows):
            args += segment_args(layout, operands.other, planned=planned)
        return args + segment_args(layout, operands.residual, planned=planned)


def _row_blocks(kernel: K.Rows, cells: int) -> int:
    per_block = kernel.threads // 32 if kernel.op == "channel_norm" else kernel.threads // kernel.granules or 1
    return -(-cells // per_block)
