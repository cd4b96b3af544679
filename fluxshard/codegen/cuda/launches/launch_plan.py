"""From a Plan to launches: what every kernel is, what it is given, and in which order a frame runs them.

There are two orders. `propagated` finds each layer's cells from the masks of the layers before: three launches for most
layers. `planned` is for frames whose work is given for every grid: all cells, rows and maps of all grids are decided in
three launches, and each layer is one. Both use the same memory and leave the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.args import Args, Ptr, i, p
from fluxshard.codegen.cuda.launches.layer_kernels import LayerKernels
from fluxshard.codegen.cuda.launches.memory import CELLS_PER_BLOCK, ROWS_PER_BLOCK, Memory, Store
from fluxshard.codegen.cuda.launches.segments import inputs_of, segment_args
from fluxshard.codegen.cuda.launches.tiles import Problem
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import LayerSpec, Plan, first_windowed_layers
from fluxshard.options import Rfap


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel launch.

    Attributes:
      kernel: what runs.
      args: its struct.
      blocks: as many as all work can keep busy.
      persistent: fewer blocks do as well; False where blocks are numbered by their work.
      layer: whose work it is; empty for the frame's own.
    """

    kernel: K.Kernel
    args: Args
    blocks: int
    persistent: bool = True
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCall:
    """A layer that runs in torch, between launches: it reads and writes the dense tensors of `Memory`."""

    layer: str


Step = Launch | TorchCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which launches a frame takes.

    Attributes:
      planned: the work of every grid is given.
      rfap: as in `ReuseOptions`; no check is made where work is given.
      remap: the cache follows the motion.
    """

    planned: bool
    rfap: Rfap
    remap: bool


class Describer:
    """Describes a plan for a target.

    Args:
      plan: what to run.
      target: for which architecture and stored type.
      tiles: tiles that were tuned, by layer; others follow the rule of tiles.py.
      dense: layers that run in torch although they need not.
    """

    def __init__(
        self, plan: Plan, target: CudaTarget, tiles: Mapping[str, K.GemmTile] | None = None,
        dense: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.plan = plan
        self.target = target
        self.memory = Memory(plan, target, dense)
        self._masks = self._mask_sources()
        self._layers = LayerKernels(plan, target, self.memory, tiles or {})
        self._first_windowed = first_windowed_layers(plan)
        self._flags: dict[tuple[object, ...], Ptr] = {}
        for layer in plan.layers:
            if self._is_windowed(layer):
                key = self._rule_key(layer)
                if key not in self._flags:
                    self._flags[key] = self.memory.state.take(plan.grid_of(layer.output).cells)

    def order(self, order: Order) -> tuple[Step, ...]:
        """Everything that a frame runs, in order."""
        steps: list[Step] = [*self._start(order)]
        for layer in self.plan.layers:
            if layer.mode == "view":
                if isinstance(layer.params, P.UpsampleNearest) and not order.planned:
                    steps.append(self._upsample_mask(layer))
            elif self.memory.is_dense(layer.name, layer.params):
                steps += self._dense(layer, order)
            else:
                steps += self._sparse(layer, order)
        steps += self._outputs(order)
        if not order.remap:
            steps += self._commit(order)
        return tuple(steps)

    def problem(self, layer: LayerSpec) -> Problem | None:
        """What the tile of a layer depends on; None where it has none."""
        if layer.mode != "sparse" or self.memory.is_dense(layer.name, layer.params):
            return None
        return self._layers.problem(layer)

    # ---- masks

    def _mask_sources(self) -> dict[str, tuple[Ptr, ...]]:
        """Masks whose union is that of a value."""
        memory = self.memory
        masks: dict[str, tuple[Ptr, ...]] = {self.plan.input: (memory.image_mask,)}
        for layer in self.plan.layers:
            if layer.mode != "view":
                masks |= {name: (memory.stores[name].mask,) for name in layer.outputs if name in memory.stores}
            elif isinstance(layer.params, P.UpsampleNearest):
                masks[layer.output] = (memory.view_masks[layer.output],)
            else:
                masks[layer.output] = tuple(dict.fromkeys(m for name in layer.inputs for m in masks[name]))
        return masks

    def _is_windowed(self, layer: LayerSpec) -> bool:
        return layer.mode == "sparse" and not self.memory.is_dense(layer.name, layer.params) and layer.is_windowed

    def _rule_key(self, layer: LayerSpec) -> tuple[object, ...]:
        return self.plan.value(layer.inputs[0]).grid, self.plan.value(layer.output).grid, layer.windows

    def _small(
        self, label: str, header: str, call: str, args: str, *, typed: bool = False, **fields: object
    ) -> K.Small:
        """A kernel of bookkeeping; those that read no features are the same for all stored types."""
        call = call if "(" in call else f"{call}(a)"
        dtype = self.target.dtype if typed else "float32"
        return K.Small(dtype=dtype, header=header, call=call, args=args, label=label, **fields)  # type: ignore[arg-type]

    # ---- the start and the end of a frame

    def _start(self, order: Order) -> list[Step]:
        m, plan = self.memory, self.plan
        grid = m.grids[0]
        pixels = plan.grids[0].cells
        begin = p(m.control, m.key, m.still, m.zero) + i(len(plan.grids), m.zero_words)
        fields = p(m.control) + i(plan.grids[0].height, plan.grids[0].width)
        for g, where in zip(plan.grids, m.grids, strict=True):
            fields += p(where.dy, where.dx, where.valid, where.src, where.still)
            fields += i(g.height, g.width, g.stride_y.numerator, g.stride_y.denominator)
            fields += i(g.stride_x.numerator, g.stride_x.denominator)
        image = p(m.control, m.key, m.pixel_count) + grid.field
        image += p(*m.image_buffers, m.fed, m.image_mask, grid.work) + i(pixels, 0)
        n, shape = len(plan.grids), f"{m.image_channels}, {m.image_stride}"
        take = self._small("image_take", "frame", f"image_take<{shape}, {m.image_stride}>", "ImageArgs", typed=True)
        steps: list[Step] = [
            Launch(
                kernel=self._small("begin", "frame", "begin", "BeginArgs"), args=begin, blocks=-(-m.zero_words // 256)
            ),
            Launch(
                kernel=self._small(f"fields{n}", "frame", f"fields<{n}>", f"FieldsArgs<{n}>"), args=fields,
                blocks=-(-pixels // 256),
            ),
            Launch(
                kernel=self._small("image_compare", "frame", f"image_compare<{shape}>", "ImageArgs"), args=image,
                blocks=-(-pixels // 256),
            ),
            Launch(
                kernel=take, args=image, blocks=-(-pixels // 256),
            ),
        ]  # fmt: skip
        if order.planned:
            return steps + self._plan_grids()
        if order.rfap == "compact" and self._first_windowed:
            steps += self._compact()
        if order.rfap == "per_layer":
            done = set()
            for layer in plan.layers:
                if self._is_windowed(layer) and self._rule_key(layer) not in done:
                    done.add(self._rule_key(layer))
                    steps.append(self._window_rule(layer))
        return steps

    def _plan_grids(self) -> list[Step]:
        m, n = self.memory, len(self.plan.grids)
        args, first, first_assign = p(m.control, m.key), 0, 0
        for grid, where in zip(self.plan.grids, m.grids, strict=True):
            blocks = -(-grid.cells // CELLS_PER_BLOCK)
            args += where.field + p(*where.maps, where.work, where.used, where.counts)
            args += p(m.key, where.candidates, where.counts, where.used, where.list, where.rows, where.n)
            args += i(grid.cells, blocks) + p(where.candidates) + i(first, first_assign)
            first, first_assign = first + blocks, first_assign + blocks + -(-2 * grid.cells // ROWS_PER_BLOCK)
        struct = f"PlanArgs<{n}>"
        return [
            Launch(
                kernel=self._small(f"{name}{n}", "maps", f"{name}<{n}>", struct), args=args, blocks=blocks,
                persistent=name == "plan_settle",
            )
            for name, blocks in (("plan_candidates", first), ("plan_assign", first_assign), ("plan_settle", first))
        ]  # fmt: skip

    def _compact(self) -> list[Step]:
        m, grid = self.memory, self.plan.grids[0]
        args = p(m.key) + m.grids[0].field + p(m.compact_changes, m.compact_flags)
        args += i(grid.height, grid.width, self.plan.r_max // 2, self.plan.s_max)
        along_x = self._small("compact_x", "rules", "compact_along_x", "CompactArgs", shared_bytes=8 * (grid.width + 1))
        along_y = self._small("compact_y", "rules", "compact_along_y", "CompactArgs")
        return [
            Launch(kernel=along_x, args=args, blocks=grid.height),
            Launch(kernel=along_y, args=args, blocks=-(-grid.cells // (32 * 256))),
        ]

    def _window_rule(self, layer: LayerSpec) -> Launch:
        m = self.memory
        grid_in, grid_out = self.plan.value(layer.inputs[0]).grid, self.plan.value(layer.output).grid
        assert grid_in is not None and grid_out is not None and layer.windows is not None
        args = p(m.key) + m.grids[grid_in].field + m.grids[grid_out].field + self._axes(layer)
        args += p(self._flags[self._rule_key(layer)]) + i(self.plan.grids[grid_in].width)
        args += i(*(step for window in layer.windows for step in (window.in_step, window.out_step)), 0)
        kernel = self._small("window_rule", "rules", "window_rule", "WindowRuleArgs")
        return Launch(kernel=kernel, args=args, blocks=-(-self.plan.grids[grid_out].cells // 256), layer=layer.name)

    def _axes(self, layer: LayerSpec) -> Args:
        """Two structs Axis."""
        assert layer.windows is not None
        grid_in, grid_out = self.plan.grid_of(layer.inputs[0]), self.plan.grid_of(layer.output)
        sizes = ((grid_in.height, grid_out.height), (grid_in.width, grid_out.width))
        args = Args(())
        for window, (n_in, n_out) in zip(layer.windows, sizes, strict=True):
            axis = self.memory.axis(window, n_in, n_out)
            args += p(axis.tap, axis.crosses) + i(axis.layout.taps, n_out)
        return args

    def _outputs(self, order: Order) -> list[Step]:
        steps, index = [], 0
        for leaf in self.plan.outputs:
            if leaf.value is None:
                continue
            if self.plan.value(leaf.value).grid is not None:
                steps.append(self._to_dense(leaf.value, None, self.memory.outputs + 8 * index, order))
            index += 1
        return list(steps)

    def _to_dense(self, name: str, dense: Ptr | None, output: Ptr | None, order: Order) -> Launch:
        m, value, grid = self.memory, self.plan.value(name), self.plan.grid_of(name)
        inputs = inputs_of(m, m.segments[name], rows=True)
        args = p(m.control) + segment_args(m, m.segments[name], planned=order.planned) + p(dense, output)
        args += i(grid.cells, grid.width)
        kernel = self._small(
            f"to_dense_c{value.channels}",
            "frame",
            f"to_dense<In, {value.channels}>",
            "DenseArgs<In>",
            inputs=inputs,
            typed=True,
        )
        blocks = -(-grid.cells // 32) * -(-value.channels // 32)
        return Launch(kernel=kernel, args=args, blocks=blocks, layer=name)

    def _commit(self, order: Order) -> list[Step]:
        m = self.memory
        jobs = [(m.image_mask, (None, None), m.image_buffers, 0)]
        own = [s for s in m.stores.values() if not order.planned or m.keeps_maps(s.name)]
        jobs += [(s.mask, s.maps, (None, None), s.grid) for s in own]  # type: ignore[misc]
        if order.planned:
            jobs += [(g.candidates, g.maps, (None, None), n) for n, g in enumerate(m.grids)]  # type: ignore[misc]
        steps: list[Step] = []
        commit = self._small("commit", "rules", f"commit<{m.image_stride}>", "CommitArgs")
        for mask, maps, buffers, grid in jobs:
            cells = self.plan.grids[grid].cells
            args = p(m.control, m.key) + m.grids[grid].field + p(mask, *maps, *buffers, m.winner) + i(cells, 0)
            for kernel in (self._small("commit_elect", "rules", "commit_elect", "CommitArgs"), commit):
                steps.append(Launch(kernel=kernel, args=args, blocks=-(-cells // 256)))
        return steps

    # ---- layers

    def _upsample_mask(self, layer: LayerSpec) -> Launch:
        m, name = self.memory, layer.output
        assert isinstance(layer.params, P.UpsampleNearest)
        grid_in, grid_out = self.plan.value(layer.inputs[0]).grid, self.plan.value(name).grid
        assert grid_in is not None and grid_out is not None
        inputs, parents = inputs_of(m, m.segments[name], rows=False), self._masks[layer.inputs[0]]
        args = p(m.control, m.key) + m.grids[grid_in].field + m.grids[grid_out].field
        args += p(*parents, m.grids[grid_out].work) + segment_args(m, m.segments[name], planned=False)
        args += p(m.view_masks[name]) + i(self.plan.grids[grid_out].cells, self.plan.grids[grid_out].width)
        args += i(self.plan.grids[grid_in].width, *layer.params.factor, 0)
        n = len(parents)
        kernel = self._small(
            f"upsample_mask{n}",
            "rules",
            f"upsample_mask<In, {n}>",
            f"UpsampleMaskArgs<In, {n}>",
            inputs=inputs,
            typed=True,
        )
        return Launch(kernel=kernel, args=args, blocks=-(-self.plan.grids[grid_out].cells // 256), layer=layer.name)

    def _sparse(self, layer: LayerSpec, order: Order) -> list[Step]:
        m = self.memory
        store = m.stores[layer.output]
        steps: list[Step] = []
        if not order.planned:
            first, *others = layer.inputs
            through, also = [*self._masks[first]] if layer.is_windowed else [], []
            if layer.is_windowed and order.rfap == "compact" and layer.name in self._first_windowed:
                through.append(m.compact_flags)
            if layer.is_windowed and order.rfap == "per_layer":
                also.append(self._flags[self._rule_key(layer)])
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
            pick = self._pick(layer, store, steps, order)
        steps += [
            Launch(kernel=kernel, args=args, blocks=blocks, layer=layer.name)
            for kernel, args, blocks in self._layers.launches(layer, order.planned, pick)
        ]
        return steps

    def _choose(
        self, layer: LayerSpec, store: Store, through: tuple[Ptr, ...], also: tuple[Ptr, ...],
        vectors: tuple[Ptr, ...], run: Ptr | None,
    ) -> list[Step]:  # fmt: skip
        """Candidates of a store, its new map, and rows for the candidates."""
        m, grid = self.memory, self.plan.grids[store.grid]
        blocks = -(-grid.cells // CELLS_PER_BLOCK)
        args = p(m.control, m.key) + m.grids[store.grid].field + p(*store.maps)
        for pointers in (through, also, vectors):
            args += p(*(pointers or (None,)))
        args += p(run, None if run else m.grids[store.grid].work)
        args += self._axes(layer) if through else p(None, None) + i(0, 0) + p(None, None) + i(0, 0)
        args += p(store.candidates, store.mask, m.counts, store.used)
        in_width = self.plan.grid_of(layer.inputs[0]).width if through else 0
        args += i(grid.cells, in_width)
        counts = f"{len(through)}, {len(also)}, {len(vectors)}"
        kernel = self._small(
            f"candidates_{counts.replace(', ', '_')}", "maps", f"candidates<{counts}>", f"CandidateArgs<{counts}>"
        )
        assign = p(m.key, store.candidates, m.counts, store.used, m.list, m.rows, m.n_of[store.name])
        assign += i(grid.cells, blocks)
        return [
            Launch(kernel=kernel, args=args, blocks=blocks, persistent=False, layer=layer.name),
            Launch(
                kernel=self._small("assign", "maps", "assign(a, blockIdx.x)", "AssignArgs"), args=assign,
                blocks=blocks + -(-2 * grid.cells // ROWS_PER_BLOCK), persistent=False, layer=layer.name,
            ),
        ]  # fmt: skip

    def _pick(self, layer: LayerSpec, store: Store, steps: list[Step], order: Order) -> tuple[Ptr, Ptr]:
        """Sorts a transposed convolution's candidates by output phase."""
        m, grid = self.memory, self.plan.grids[store.grid]
        assert isinstance(layer.params, P.ConvTranspose2d)
        stride = layer.params.stride
        pick, counts = self._layers.pick(stride[0] * stride[1] * grid.cells), m.phase_counts[layer.name]
        planned = m.grids[store.grid]
        n, cells = (planned.n, planned.list) if order.planned else (m.n_of[store.name], m.list)
        args = p(n, cells, pick, counts) + i(grid.cells, grid.width, *stride)
        kernel = self._small("phases", "maps", "phases", "PhaseArgs")
        steps.append(Launch(kernel=kernel, args=args, blocks=-(-grid.cells // 256), layer=layer.name))
        return pick, counts

    def _dense(self, layer: LayerSpec, order: Order) -> list[Step]:
        """A layer in torch: whether it must run, dense inputs, the call, and its outputs compared with the cache."""
        m, plan = self.memory, self.plan
        on_grid = [name for name in layer.inputs if plan.value(name).grid is not None]
        masks = self._gate_masks(on_grid, order)
        grids = {plan.value(name).grid for name in (*layer.inputs, *layer.outputs)} - {None}
        still = [m.grids[grid].still for grid in sorted(grids)]  # type: ignore[type-var, index]
        vectors = [m.changed_of[name] for name in layer.inputs if plan.value(name).grid is None]
        args = p(m.key, m.run_of[layer.name])
        for pointers in ([mask for mask, _ in masks], still, vectors):
            args += p(*(pointers or (None,)))
        cells = [n for _, n in masks]
        args += i(*(cells + [0] * (len(cells) % 2)) or [0, 0])
        counts = f"{len(masks)}, {len(still)}, {len(vectors)}"
        gate = self._small(f"gate_{counts.replace(', ', '_')}", "rules", f"gate<{counts}>", f"GateArgs<{counts}>")
        steps: list[Step] = [Launch(kernel=gate, args=args, blocks=-(-max([*cells, 1]) // 4096), layer=layer.name)]
        steps += [self._to_dense(name, m.dense_of[name], None, order) for name in dict.fromkeys(on_grid)]
        steps.append(TorchCall(layer=layer.name))
        for name in layer.outputs:
            if name in m.stores:
                steps += self._choose(layer, m.stores[name], (), (), (), m.run_of[layer.name])
                kernel, row_args, blocks = self._layers.from_dense(layer, name)
                steps.append(Launch(kernel=kernel, args=row_args, blocks=blocks, layer=layer.name))
            elif m.is_compared(name):
                steps.append(self._take_vector(layer, name))
        return steps

    def _gate_masks(self, names: list[str], order: Order) -> list[tuple[Ptr, int]]:
        """Masks that say whether an input changed; with planned work those are the candidates of its grid."""
        m = self.memory
        found: dict[Ptr, int] = {}
        for name in names:
            cells = self.plan.grid_of(name).cells
            if not order.planned:
                found |= {mask: cells for mask in self._masks[name]}
                continue
            for s in m.segments[name]:
                if s.store < 0:
                    found[m.image_mask] = self.plan.grids[0].cells
                    continue
                store = m.by_index[s.store]
                grid = m.grids[store.grid]
                found[store.mask if m.keeps_maps(store.name) else grid.candidates] = self.plan.grids[store.grid].cells
        return list(found.items())

    def _take_vector(self, layer: LayerSpec, name: str) -> Launch:
        m = self.memory
        row, width = self._layers.vectors.get(name, (None, 0))
        index = self.plan.layers.index(layer)
        args = p(m.key, m.run_of[layer.name], m.fresh_of[name], m.cached_of[name], row, m.tau + 4 * index)
        args += p(m.changed_of[name]) + i(int(np.prod(self.plan.value(name).shape)), width)
        return Launch(
            kernel=self._small("take_vector", "rules", "take_vector", "VectorArgs"), args=args, blocks=1,
            persistent=False, layer=layer.name,
        )  # fmt: skip
