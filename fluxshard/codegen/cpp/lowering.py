"""From a Plan to what the template is rendered with: one description per layer, offsets resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cpp import families as fam
from fluxshard.codegen.cpp.allocation import Allocator
from fluxshard.codegen.cpp.islands.describe import describe_island
from fluxshard.codegen.cpp.islands.generate import generate_islands
from fluxshard.codegen.cpp.layout import Layout
from fluxshard.codegen.cpp.operands import allocate_operands
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.ir import params as P
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.step_layout import DenseBuffer


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """All that the template sees besides the target."""

    plan: Plan
    layout: Layout
    steps: tuple[fam.Layer | fam.View | fam.IslandCall, ...]
    outputs: tuple[fam.IslandPort | DenseBuffer, ...]  # plan outputs on grids, and kept values off them, in order
    in_torch: Mapping[str, str]  # islands that the program calls back for, and why
    image_channels: int
    image_stride: int
    longest_row: int
    has_first: bool
    upsampled_grids: tuple[int, ...]  # that views upsample to
    reads_windows: bool  # the image is read through windows only, and nothing else lies on its grid


def describe(plan: Plan, target: Target, tiles: Mapping[str, Tile] | None = None) -> StepSpec:
    """Resolves every layer of a plan for a target.

    Args:
      plan, target: what is generated, and for what.
      tiles: measured ones, by layer; the rule has those of others.
    """
    describer = _Describer(plan, target, tiles or {})
    steps = tuple(describer.step(index, layer) for index, layer in enumerate(plan.layers))
    ports = tuple(
        describer.port(leaf.value) for leaf in plan.outputs if leaf.value and plan.value(leaf.value).grid is not None
    )
    values = describer.layout.values
    outputs = tuple(
        values[name] if name in values else describer.port(name)
        for name in (leaf.value for leaf in plan.outputs)
        if name and (name in values or plan.value(name).grid is not None)
    )
    channels = plan.value(plan.input).channels
    longest = max(
        [s.stride for s in describer.layout.stores.values()] + [v.shape[1] for v in plan.values if v.grid is not None]
    )
    return StepSpec(
        plan=plan,
        layout=describer.layout,
        steps=tuple(step for step in steps if step is not None),
        outputs=outputs,
        in_torch=describer.islands.in_torch,
        image_channels=channels,
        image_stride=round_up(channels, 4),
        longest_row=round_up(longest, 64) + 64,
        has_first=any(isinstance(step, fam.Layer) and step.first for step in steps),
        upsampled_grids=tuple(
            sorted({step.grid_out for step in steps if isinstance(step, fam.View) and step.family == "upsample"})
        ),
        reads_windows=_reads_windows(describer.layout, [step for step in steps if step is not None], ports),
    )


def _reads_windows(
    layout: Layout, steps: Sequence[fam.Layer | fam.View | fam.IslandCall], outputs: Sequence[fam.IslandPort]
) -> bool:
    grids = {store.grid for store in layout.stores.values()}
    elsewhere: list[Segment] = []  # read in other ways than through windows
    ports = list(outputs)
    for step in steps:
        if isinstance(step, fam.IslandCall):
            ports += (*step.inputs, *step.outputs)
            continue
        if isinstance(step, fam.View):
            elsewhere += step.segments
            grids |= {step.grid_in, step.grid_out} if step.family == "upsample" else set()
            continue
        elsewhere += (*step.finish.residual, *getattr(step.p, "other", ()))
        elsewhere += () if step.windowed else step.segments
    for port in ports:
        elsewhere += port.segments
        grids.add(port.grid)
    return 0 not in grids and all(segment.store >= 0 for segment in elsewhere)


class _Describer:
    """Allocates, and then holds what accumulates over layers while they are described."""

    def __init__(self, plan: Plan, target: Target, tiles: Mapping[str, Tile]) -> None:
        self.plan = plan
        allocator = Allocator(plan, target)
        self.islands = generate_islands(plan, allocator)
        self.operands = allocate_operands(plan, target, allocator, self.islands.in_torch, tiles)
        self.layout = allocator.layout()
        self.off_grid = {name: index for index, name in enumerate(self.layout.off_grid)}
        self.masks = {plan.input: "image_mask"}
        self.near_image = {plan.input}  # reached from the image through pointwise ops and channel views
        self.n_in_torch = 0
        self.n_views = 0

    def port(self, name: str) -> fam.IslandPort:
        """A value on a grid as a dense tensor; the image and views included."""
        value = self.plan.value(name)
        assert value.grid is not None
        store = self.layout.stores.get(name)
        return fam.IslandPort(
            store=-1 if store is None else store.index, channels=value.channels, grid=value.grid,
            segments=self.layout.segments[name], mask=self.masks[name],
        )  # fmt: skip

    def step(self, index: int, layer: LayerSpec) -> fam.Layer | fam.View | fam.IslandCall | None:
        """What runs for a layer; None for channel slices, which are only a way to read."""
        near = layer.mode != "dense" and any(name in self.near_image for name in layer.inputs)
        if layer.mode == "view":
            if near and not layer.is_windowed:
                self.near_image.add(layer.output)
            return self._view(index, layer)
        if isinstance(layer.params, P.Island):
            return self._island(index, layer)
        if near and not layer.is_windowed:
            self.near_image.add(layer.output)
        return self._sparse(index, layer, layer.inputs[0] in self.near_image)

    def _view(self, index: int, layer: LayerSpec) -> fam.View | None:
        name, masks = layer.output, tuple(self.masks[i] for i in layer.inputs)
        if isinstance(layer.params, P.ChannelSlice):
            self.masks[name] = masks[0]
            return None
        number, self.n_views = self.n_views, self.n_views + 1
        self.masks[name] = f"vm[{number}]"
        offset, cells = self.layout.view_masks[name], self.plan.grid_of(name).cells
        if isinstance(layer.params, P.Cat):
            return fam.View(
                family="cat", index=index, name=layer.name, offset=offset, cells=cells, masks=masks, mask_index=number
            )
        assert isinstance(layer.params, P.UpsampleNearest)
        grid_in, grid_out = self.plan.value(layer.inputs[0]).grid, self.plan.value(name).grid
        assert grid_in is not None and grid_out is not None
        return fam.View(
            family="upsample", index=index, name=layer.name, offset=offset, cells=cells, masks=masks, mask_index=number,
            grid_in=grid_in, grid_out=grid_out, factor=layer.params.factor, segments=self.layout.segments[name],
        )  # fmt: skip

    def _island(self, index: int, layer: LayerSpec) -> fam.IslandCall:
        generated = self.islands.generated.get(layer.name)
        code, number = None, -1
        if generated is not None:
            code = describe_island(generated, self.layout, self.port)
        else:
            number, self.n_in_torch = self.n_in_torch, self.n_in_torch + 1
        inputs = [self.port(name) for name in layer.inputs if self.plan.value(name).grid is not None]
        if code is None:
            names = [name for name in layer.inputs if self.plan.value(name).grid is not None]
            inputs = [replace(port, dense=self._dense(name)) for name, port in zip(names, inputs, strict=True)]
        outputs = []
        for name in layer.outputs:
            if self.plan.value(name).grid is not None:
                self.masks[name] = f"mask_of(st[{self.layout.stores[name].index}])"
                dense = self._dense(name) if code is None else code.outputs[name]
                outputs.append(replace(self.port(name), dense=dense))
        vectors = tuple(self.off_grid[name] for name in layer.inputs if self.plan.value(name).grid is None)
        return fam.IslandCall(
            index=index, name=layer.name, number=number, inputs=tuple(inputs), vectors=vectors,
            outputs=tuple(outputs), n_off_grid=len(layer.outputs) - len(outputs), code=code,
        )  # fmt: skip

    def _dense(self, name: str) -> str:
        """Where a value lies for an island that runs in torch."""
        return f"(float*)(scratch + {self.layout.buffers[name].offset})"

    def _sparse(self, index: int, layer: LayerSpec, near: bool) -> fam.Layer:
        first, *others = layer.inputs
        store, operands = self.layout.stores[layer.output], self.operands[layer.name]
        self.masks[layer.output] = f"mask_of(st[{store.index}])"
        return fam.Layer(
            family=operands.family, index=index, name=layer.name, op=layer.op, store=store.index,
            segments=self.layout.segments[first], mask=self.masks[first],
            masks=tuple(self.masks[name] for name in others if self.plan.value(name).grid is not None),
            vectors=tuple(self.off_grid[name] for name in others if self.plan.value(name).grid is None),
            windowed=layer.is_windowed, axis_y=operands.axis_y, axis_x=operands.axis_x, flags=operands.flags,
            first=layer.is_windowed and near, finish=operands.finish, p=operands.params,
        )  # fmt: skip
