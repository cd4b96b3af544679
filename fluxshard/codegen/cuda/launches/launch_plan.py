"""From a Plan to launches: what every kernel is, what it is given, and in which order a frame runs them.

There are two orders. `propagated` finds each layer's cells from the masks of the layers before: three launches for most
layers. `planned` is for frames whose work is given for every grid: all cells, rows and maps of all grids are decided in
three launches, and each layer is one. Both use the same memory and leave the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.allocation import allocate, rule_of
from fluxshard.codegen.cuda.launches.frame_kernels import FrameKernels, bookkeeping
from fluxshard.codegen.cuda.launches.launch import Launch, Order, Step, field_args, i, p
from fluxshard.codegen.cuda.launches.layer_kernels import LayerKernels
from fluxshard.codegen.cuda.launches.memory import CELLS_PER_BLOCK, ROWS_PER_BLOCK
from fluxshard.codegen.cuda.launches.segments import axis_args, inputs_of, segment_args
from fluxshard.codegen.cuda.launches.tiles import Problem
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import LayerSpec, Plan, first_windowed_layers
from fluxshard.ir.stream_layout import Ptr, Store, TorchCall


class Describer:
    """Describes a plan for a target. Memory is allocated first; describing an order changes nothing.

    Args:
      plan: what to run.
      target: for which architecture and stored type.
      tiles: tiles that were tuned, by layer; others follow the rule of tiles.py.
      dense: layers that run in torch although they need not.

    Attributes:
      plan, target: as given.
      memory: everything that launches point at.
    """

    def __init__(
        self, plan: Plan, target: CudaTarget, tiles: Mapping[str, K.GemmTile] | None = None,
        dense: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.plan = plan
        self.target = target
        self.memory = allocate(plan, target, tiles or {}, dense)
        self._layout = self.memory.layout
        self._frame, self._layers = FrameKernels(plan, self.memory), LayerKernels(plan, self.memory)
        self._masks = self._mask_sources()
        self._first_windowed = first_windowed_layers(plan)
        self._index = {layer.name: index for index, layer in enumerate(plan.layers)}

    def order(self, order: Order) -> tuple[Step, ...]:
        """Everything that a frame runs, in order."""
        steps: list[Step] = [*self._frame.start(order)]
        for layer in self.plan.layers:
            if layer.mode == "view":
                if isinstance(layer.params, P.UpsampleNearest) and not order.planned:
                    steps.append(self._upsample_mask(layer))
            elif layer.name in self._layout.in_torch:
                steps += self._dense(layer, order)
            elif layer.name in self.memory.islands:
                steps += [self._gate(layer, order), self._layers.island(layer, order)]
            else:
                steps += self._sparse(layer, order)
        steps += self._frame.outputs(order.planned)
        if not order.remap:
            steps += self._frame.commit(order.planned)
        return tuple(_alone(steps))

    def input_orders(self, remap: bool) -> tuple[tuple[Launch, ...], tuple[Launch, ...]]:
        """Launches of an input cache to propose a frame, and to commit it: none with remapping."""
        return tuple(self._frame.image()), () if remap else tuple(self._frame.commit_image())

    def problem(self, layer: LayerSpec) -> Problem | None:
        """The problem that decides a layer's tile; None where it has none."""
        operands = self.memory.operands.get(layer.name)
        return operands[0].problem if operands else None

    def _mask_sources(self) -> dict[str, tuple[Ptr, ...]]:
        """Masks whose union is that of a value."""
        m = self._layout
        masks: dict[str, tuple[Ptr, ...]] = {self.plan.input: (m.image_mask,)}
        for layer in self.plan.layers:
            if layer.mode != "view":
                masks |= {name: (m.stores[name].mask,) for name in layer.outputs if name in m.stores}
            elif isinstance(layer.params, P.UpsampleNearest):
                masks[layer.output] = (m.view_masks[layer.output],)
            else:
                masks[layer.output] = tuple(dict.fromkeys(mask for name in layer.inputs for mask in masks[name]))
        return masks

    def _upsample_mask(self, layer: LayerSpec) -> Launch:
        m, name, segments = self._layout, layer.output, self.memory.segments[layer.output]
        assert isinstance(layer.params, P.UpsampleNearest)
        grid_in, grid_out = self.plan.value(layer.inputs[0]).grid, self.plan.value(name).grid
        assert grid_in is not None and grid_out is not None
        parents = self._masks[layer.inputs[0]]
        args = p(m.control, m.key) + field_args(m.grids[grid_in]) + field_args(m.grids[grid_out])
        args += p(*parents, m.grids[grid_out].work) + segment_args(m, segments, planned=False)
        args += p(m.view_masks[name]) + i(self.plan.grids[grid_out].cells, self.plan.grids[grid_out].width)
        args += i(self.plan.grids[grid_in].width, *layer.params.factor, 0)
        n = len(parents)
        kernel = bookkeeping(
            f"upsample_mask{n}", "rules", f"upsample_mask<In, {n}>", f"UpsampleMaskArgs<In, {n}>",
            inputs=inputs_of(m, segments, rows=False), dtype=self.target.dtype,
        )  # fmt: skip
        return Launch(kernel=kernel, args=args, blocks=-(-self.plan.grids[grid_out].cells // 256), layer=layer.name)

    def _sparse(self, layer: LayerSpec, order: Order) -> list[Launch]:
        m = self._layout
        store = m.stores[layer.output]
        steps: list[Launch] = []
        if not order.planned:
            first, *others = layer.inputs
            through, also = [*self._masks[first]] if layer.is_windowed else [], []
            if layer.is_windowed and order.rfap == "compact" and layer.name in self._first_windowed:
                through.append(m.compact_flags)
            if layer.is_windowed and order.rfap == "per_layer":
                also.append(self.memory.flags[rule_of(self.plan, layer)])
            if not layer.is_windowed:
                also += self._masks[first]
            vectors = []
            for name in others:
                if self.plan.value(name).grid is None:
                    vectors.append(m.changed_of[name])
                else:
                    also += self._masks[name]
            steps += self._choose(layer, store, tuple(through), tuple(dict.fromkeys(also)), tuple(vectors), None)
        pick = None
        if isinstance(layer.params, P.ConvTranspose2d):
            sort, pick = self._pick(layer, layer.params, store, order)
            steps.append(sort)
        return steps + self._layers.launches(layer, order.planned, pick)

    def _choose(
        self, layer: LayerSpec, store: Store, through: tuple[Ptr, ...], also: tuple[Ptr, ...],
        vectors: tuple[Ptr, ...], run: Ptr | None,
    ) -> list[Launch]:  # fmt: skip
        """Candidates of a store, its new map, and rows for the candidates.

        Args:
          layer: that makes the store.
          store: whose cells are chosen.
          through: masks that spread through the layer's window.
          also: masks of the store's own grid.
          vectors: flags of values off the grids; where one is set, all cells are candidates.
          run: flag of a layer in torch; all cells are candidates where it is set, and none otherwise.
        """
        m, grid = self._layout, self.plan.grids[store.grid]
        blocks = -(-grid.cells // CELLS_PER_BLOCK)
        args = p(m.control, m.key) + field_args(m.grids[store.grid]) + p(*store.maps)
        for pointers in (through, also, vectors):
            args += p(*(pointers or (None,)))
        args += p(run, None if run else m.grids[store.grid].work)
        no_axes = p(None, None) + i(0, 0) + p(None, None) + i(0, 0)
        args += axis_args(self.plan, self.memory.axes, layer) if through else no_axes
        args += p(store.candidates, store.mask, m.counts, store.used)
        in_width = self.plan.grid_of(layer.inputs[0]).width if through else 0
        args += i(grid.cells, in_width)
        counts = f"{len(through)}, {len(also)}, {len(vectors)}"
        kernel = bookkeeping(
            f"candidates_{counts.replace(', ', '_')}", "maps", f"candidates<{counts}>", f"CandidateArgs<{counts}>"
        )
        assign = p(m.key, store.candidates, m.counts, store.used, m.list, m.rows, m.n_of[store.name])
        assign += i(grid.cells, blocks)
        return [
            Launch(kernel=kernel, args=args, blocks=blocks, persistent=False, layer=layer.name),
            Launch(
                kernel=bookkeeping("assign", "maps", "assign(a, blockIdx.x)", "AssignArgs"), args=assign,
                blocks=blocks + -(-2 * grid.cells // ROWS_PER_BLOCK), persistent=False, layer=layer.name,
            ),
        ]  # fmt: skip

    def _pick(
        self, layer: LayerSpec, params: P.ConvTranspose2d, store: Store, order: Order
    ) -> tuple[Launch, tuple[Ptr, Ptr]]:
        """Sorts a transposed convolution's candidates by output phase; where they are then, and their counts."""
        m, grid = self._layout, self.plan.grids[store.grid]
        pick, counts = self.memory.pick, m.phase_counts[layer.name]
        assert pick is not None
        planned = m.grids[store.grid]
        n, cells = (planned.n, planned.list) if order.planned else (m.n_of[store.name], m.list)
        args = p(n, cells, pick, counts) + i(grid.cells, grid.width, *params.stride)
        kernel = bookkeeping("phases", "maps", "phases", "PhaseArgs")
        return Launch(kernel=kernel, args=args, blocks=-(-grid.cells // 256), layer=layer.name), (pick, counts)

    def _dense(self, layer: LayerSpec, order: Order) -> list[Step]:
        """A layer in torch: whether it must run, dense inputs, the call, and its outputs compared with the cache."""
        m = self._layout
        steps: list[Step] = [self._gate(layer, order)]
        for name in dict.fromkeys(self._on_grid(layer)):
            # A copy that nothing else writes, of values that stay where they are, is right as long as they are.
            kept = order.remap and name not in m.from_torch
            run = m.run_of[layer.name] if kept else None
            steps.append(self._frame.to_dense(name, m.dense_of[name], None, order.planned, run))
        steps.append(TorchCall(layer=layer.name))
        for name in layer.outputs:
            if name in m.stores:
                steps += self._choose(layer, m.stores[name], (), (), (), m.run_of[layer.name])
                steps.append(self._layers.from_dense(layer, name))
            elif name in m.compared:
                steps.append(self._take_vector(layer, name))
        return steps

    def _on_grid(self, layer: LayerSpec) -> list[str]:
        return [name for name in layer.inputs if self.plan.value(name).grid is not None]

    def _gate(self, layer: LayerSpec, order: Order) -> Launch:
        """Whether an island, or another layer in torch, must run."""
        m, plan = self._layout, self.plan
        masks = self._gate_masks(self._on_grid(layer), order)
        grids = {plan.value(name).grid for name in (*layer.inputs, *layer.outputs)} - {None}
        still = [m.grids[grid].still for grid in sorted(grids)]  # type: ignore[type-var, index]
        vectors = [m.changed_of[name] for name in layer.inputs if plan.value(name).grid is None]
        args = p(m.key, m.run_of[layer.name])
        for pointers in ([mask for mask, _ in masks], still, vectors):
            args += p(*(pointers or (None,)))
        cells = [n for _, n in masks]
        args += i(*(cells + [0] * (len(cells) % 2)) or [0, 0])
        counts = f"{len(masks)}, {len(still)}, {len(vectors)}"
        gate = bookkeeping(f"gate_{counts.replace(', ', '_')}", "rules", f"gate<{counts}>", f"GateArgs<{counts}>")
        return Launch(kernel=gate, args=args, blocks=-(-max([*cells, 1]) // 4096), layer=layer.name)

    def _gate_masks(self, names: list[str], order: Order) -> list[tuple[Ptr, int]]:
        """Masks that say whether an input changed; with planned work those are the candidates of its grid."""
        m = self._layout
        found: dict[Ptr, int] = {}
        for name in names:
            cells = self.plan.grid_of(name).cells
            if not order.planned:
                found |= {mask: cells for mask in self._masks[name]}
                continue
            for s in self.memory.segments[name]:
                if s.store < 0:
                    found[m.image_mask] = self.plan.grids[0].cells
                    continue
                store = m.by_index[s.store]
                grid = m.grids[store.grid]
                found[store.mask if m.keeps_maps(store.name) else grid.candidates] = self.plan.grids[store.grid].cells
        return list(found.items())

    def _take_vector(self, layer: LayerSpec, name: str) -> Launch:
        m = self._layout
        row, width = self.memory.vectors.get(name, (None, 0))
        args = p(m.key, m.run_of[layer.name], m.fresh_of[name], m.cached_of[name], row)
        args += p(m.tau + 4 * self._index[layer.name], m.changed_of[name])
        args += i(int(np.prod(self.plan.value(name).shape)), width)
        return Launch(
            kernel=bookkeeping("take_vector", "rules", "take_vector", "VectorArgs"), args=args, blocks=1,
            persistent=False, layer=layer.name,
        )  # fmt: skip


def _alone(steps: list[Step]) -> list[Step]:
    """Launches, those alone that must be: a frame's first one, and the first matrix product.

    Matrix products of planned frames read cells and maps before they wait. All but the first begin after one that began
    when those were there.
    """
    first = next((n for n, step in enumerate(steps) if isinstance(step, Launch)), 0)
    product = next(
        (n for n, step in enumerate(steps) if isinstance(step, Launch) and isinstance(step.kernel, K.Gemm)), 0
    )
    return [
        replace(step, alone=True) if n in (first, product) and isinstance(step, Launch) else step
        for n, step in enumerate(steps)
    ]
