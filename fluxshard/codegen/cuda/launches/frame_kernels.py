"""The launches that belong to a frame and to no layer: the image, the cells of all grids, its results, its end."""

from __future__ import annotations

from fluxshard.codegen.cuda.launches import kernels as K
from fluxshard.codegen.cuda.launches.allocation import Allocation, Rule, rule_of
from fluxshard.codegen.cuda.launches.launch import Args, Launch, Order, field_args, i, p
from fluxshard.codegen.cuda.launches.memory import CELLS_PER_BLOCK, ROWS_PER_BLOCK
from fluxshard.codegen.cuda.launches.segments import axis_args, inputs_of, segment_args
from fluxshard.geometry import Grid
from fluxshard.ir.plan import LayerSpec, Plan, first_windowed_layers
from fluxshard.ir.stream_layout import Ptr, StreamLayout

_LARGEST = 32000  # 2 x 32768 px x this, and as much again, fit 32 bits


def bookkeeping(label: str, header: str, call: str, args: str, **fields: object) -> K.Small:
    """A kernel that reads no features and so is the same for all stored types.

    Args:
      label: first part of the kernel's name.
      header: template that defines its function.
      call: the function with its template arguments.
      args: its struct of arguments.
      fields: others of `Small`; `dtype` for a kernel that reads features.
    """
    call = call if "(" in call else f"{call}(a)"
    return K.Small(**{"dtype": "float32", **fields}, header=header, call=call, args=args, label=label)  # type: ignore[arg-type]


def planned_grids(layout: StreamLayout) -> list[int]:
    """Grids whose cells a planned frame decides: those with stored values."""
    return sorted({store.grid for store in layout.stores.values()})


class FrameKernels:
    """See the module's docstring.

    Args:
      plan: the network.
      memory: allocated for it.
    """

    def __init__(self, plan: Plan, memory: Allocation) -> None:
        self._plan, self._memory, self._layout = plan, memory, memory.layout
        self._first_windowed = first_windowed_layers(plan)

    def start(self, order: Order) -> list[Launch]:
        """S_0 and counts from zero, and what is the same for all layers of an order."""
        steps = [*(self.image() if order.takes_image else ()), self._begin()]
        if order.planned:
            return steps + self._plan_grids()
        if order.rfap == "compact" and self._first_windowed:
            steps += self._compact()
        if order.rfap == "per_layer":
            first: dict[Rule, LayerSpec] = {}
            for layer in self._plan.layers:
                if layer.is_windowed and layer.name in self._memory.operands:
                    first.setdefault(rule_of(self._plan, layer), layer)
            steps += map(self._window_rule, first.values())
        return steps

    def to_dense(
        self, name: str, dense: Ptr | None, output: Ptr | None, planned: bool, run: Ptr | None = None
    ) -> Launch:
        """Copies a value from its rows to float32 `(C, H, W)`.

        Args:
          name: of the value.
          dense: where to, in a stream's state.
          output: where the address of an output tensor is.
          planned: maps are those of the grid.
          run: a flag; where it is zero, what the last frame copied is still right. None copies always.
        """
        m, value, grid = self._layout, self._plan.value(name), self._plan.grid_of(name)
        segments = self._memory.segments[name]
        args = p(m.control) + segment_args(m, segments, planned=planned) + p(dense, output, run)
        args += i(grid.cells, grid.width)
        kernel = bookkeeping(
            f"to_dense_c{value.channels}", "frame", f"to_dense<In, {value.channels}>", "DenseArgs<In>",
            inputs=inputs_of(m, segments, rows=True), dtype=m.target.dtype,
        )  # fmt: skip
        blocks = -(-grid.cells // 64) * -(-value.channels // 32)
        return Launch(kernel=kernel, args=args, blocks=blocks, layer=name)

    def outputs(self, planned: bool) -> list[Launch]:
        """Copies results that lie on grids to the caller's tensors."""
        values = [leaf.value for leaf in self._plan.outputs if leaf.value is not None]
        return [
            self.to_dense(name, None, self._layout.outputs + 8 * index, planned)
            for index, name in enumerate(values)
            if self._plan.value(name).grid is not None
        ]

    def commit(self, planned: bool) -> list[Launch]:
        """Without remapping: writes the rows that changed back to where they came from."""
        m = self._layout
        own = [s for s in m.stores.values() if not planned or m.keeps_maps(s.name)]
        jobs = [(s.mask, s.maps, s.grid) for s in own]
        if planned:
            jobs += [(m.grids[n].candidates, m.grids[n].maps, n) for n in planned_grids(m)]
        return [
            step
            for mask, maps, grid in jobs
            for step in self._write_back(
                p(m.control, m.key) + field_args(m.grids[grid]) + p(mask, *maps, None, None, m.winner), grid
            )
        ]

    def commit_image(self) -> list[Launch]:
        """Without remapping: writes the pixels that changed back to where they came from."""
        m = self._layout.input
        args = p(m.control, m.key) + field_args(self._layout.grids[0]) + p(m.mask, None, None, *m.buffers, m.winner)
        return self._write_back(args, 0)

    def _write_back(self, args: Args, grid: int) -> list[Launch]:
        cells = self._plan.grids[grid].cells
        commit = f"commit<{self._layout.input.stride}>"
        kernels = (
            bookkeeping("commit_elect", "rules", "commit_elect", "CommitArgs"),
            bookkeeping("commit", "rules", commit, "CommitArgs"),
        )
        return [Launch(kernel=kernel, args=args + i(cells, 0), blocks=-(-cells // 256)) for kernel in kernels]

    def _begin(self) -> Launch:
        m, pixels = self._layout, self._plan.grids[0].cells
        given = m.input
        args = p(given.key, given.pixel_count, given.mask, m.key, m.pixel_count, m.image_mask, m.zero)
        args += i(m.zero_words, pixels)
        kernel = bookkeeping("begin", "frame", "begin", "BeginArgs")
        return Launch(kernel=kernel, args=args, blocks=-(-max(m.zero_words, pixels) // 256))

    def image(self) -> list[Launch]:
        """Displacement fields, S_0, and what the network reads: all that an input cache proposes."""
        m, grids = self._layout.input, self._plan.grids
        pixels, n = grids[0].cells, len(grids)
        begin, fields = p(m.control, m.key, m.pixel_count, m.still), p(m.control)
        for grid, where in zip(grids, self._layout.grids, strict=True):
            axes = _grid_axes(grid, grids[0], where.axes)
            begin += axes
            fields += field_args(where) + axes
        image = p(m.control, m.key, m.pixel_count) + field_args(self._layout.grids[0])
        image += p(*m.buffers, m.fed, m.mask, m.given) + i(pixels, 0)
        shape = f"{m.channels}, {m.stride}"
        kernels = (
            (
                bookkeeping(f"image_begin{n}", "frame", f"image_begin<{n}>", f"ImageBeginArgs<{n}>"),
                begin,
                max(max(grid.height, grid.width) for grid in grids),
            ),
            (bookkeeping(f"fields{n}", "frame", f"fields<{n}>", f"FieldsArgs<{n}>"), fields, pixels),
            (bookkeeping("image_compare", "frame", f"image_compare<{shape}>", "ImageArgs"), image, pixels),
            (
                bookkeeping(
                    "image_take",
                    "frame",
                    f"image_take<{shape}, {m.stride}>",
                    "ImageArgs",
                    dtype=self._layout.target.dtype,
                ),
                image,
                pixels,
            ),
        )
        return [Launch(kernel=kernel, args=args, blocks=-(-items // 256)) for kernel, args, items in kernels]

    def _plan_grids(self) -> list[Launch]:
        """Cells, rows and maps of the grids that have values: the image itself has none."""
        m, used = self._layout, planned_grids(self._layout)
        n, args, first, first_assign = len(used), p(self._layout.control, self._layout.key), 0, 0
        if not n:
            return []
        for grid, where in [(self._plan.grids[index], m.grids[index]) for index in used]:
            blocks = -(-grid.cells // CELLS_PER_BLOCK)
            args += field_args(where) + p(*where.maps, where.work, where.used, where.counts)
            args += p(m.key, where.candidates, where.counts, where.used, where.list, where.rows, where.n)
            args += i(grid.cells, blocks) + p(where.candidates) + i(first, first_assign)
            first, first_assign = first + blocks, first_assign + blocks + -(-2 * grid.cells // ROWS_PER_BLOCK)
        struct = f"PlanArgs<{n}>"
        return [
            Launch(
                kernel=bookkeeping(f"{name}{n}", "maps", f"{name}<{n}>", struct), args=args, blocks=blocks,
                persistent=name == "plan_settle",
            )
            for name, blocks in (("plan_candidates", first), ("plan_assign", first_assign), ("plan_settle", first))
        ]  # fmt: skip

    def _compact(self) -> list[Launch]:
        m, grid = self._layout, self._plan.grids[0]
        args = p(m.key) + field_args(m.grids[0]) + p(m.compact_changes, m.compact_flags)
        args += i(grid.height, grid.width, self._plan.r_max // 2, self._plan.s_max)
        along_x = bookkeeping("compact_x", "rules", "compact_along_x", "CompactArgs", shared_bytes=8 * (grid.width + 1))
        along_y = bookkeeping("compact_y", "rules", "compact_along_y", "CompactArgs")
        return [
            Launch(kernel=along_x, args=args, blocks=grid.height),
            Launch(kernel=along_y, args=args, blocks=-(-grid.cells // (32 * 256))),
        ]

    def _window_rule(self, layer: LayerSpec) -> Launch:
        m, plan = self._layout, self._plan
        grid_in, grid_out = plan.value(layer.inputs[0]).grid, plan.value(layer.output).grid
        assert grid_in is not None and grid_out is not None and layer.windows is not None
        args = p(m.key) + field_args(m.grids[grid_in]) + field_args(m.grids[grid_out])
        args += axis_args(plan, self._memory.axes, layer)
        args += p(self._memory.flags[rule_of(plan, layer)]) + i(plan.grids[grid_in].width)
        args += i(*(step for window in layer.windows for step in (window.in_step, window.out_step)), 0)
        kernel = bookkeeping("window_rule", "rules", "window_rule", "WindowRuleArgs")
        return Launch(kernel=kernel, args=args, blocks=-(-plan.grids[grid_out].cells // 256), layer=layer.name)


def _grid_axes(grid: Grid, image: Grid, cells: tuple[Ptr, Ptr]) -> Args:
    """Structs GridAxis of both axes, vertical first."""
    args = Args(())
    for cell, n, pixels, stride in (
        (cells[0], grid.height, image.height, grid.stride_y),
        (cells[1], grid.width, image.width, grid.stride_x),
    ):
        num, den = stride.numerator, stride.denominator
        assert max(num, den) <= _LARGEST, f"a stride of {stride} pixels a cell does not fit 32 bits"
        shift = num.bit_length() - 1 if num & (num - 1) == 0 else -1
        args += p(cell) + i(n, pixels, num, den, shift, 0)
    return args
