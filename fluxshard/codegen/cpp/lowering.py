"""From a Plan to what the template is rendered with: one description per layer, offsets resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.literals import activation_numbers, literal
from fluxshard.codegen.common.resampling import Lerp, lerp
from fluxshard.codegen.common.segments import Segment
from fluxshard.codegen.cpp import families as fam
from fluxshard.codegen.cpp.layout import DenseBuffer, Layout, lay_out
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.geometry import table_window, transposed_taps
from fluxshard.ir import params as P
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.windows import nearest_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """All that the template sees besides the target."""

    plan: Plan
    layout: Layout
    steps: tuple[fam.Layer | fam.View | fam.IslandCall, ...]
    outputs: tuple[fam.IslandPort, ...]  # plan outputs on grids, in order
    image_channels: int
    image_stride: int
    longest_row: int
    has_first: bool
    reads_windows: bool  # the image is read through windows only, and nothing else lies on its grid


def describe(plan: Plan, target: Target) -> StepSpec:
    """Resolves every layer of a plan for a target."""
    builder = _Builder(plan, target)
    steps = tuple(builder.step(index, layer) for index, layer in enumerate(plan.layers))
    outputs = tuple(
        builder.port(leaf.value) for leaf in plan.outputs if leaf.value and plan.value(leaf.value).grid is not None
    )
    channels = plan.value(plan.input).channels
    longest = max(
        [s.stride for s in builder.layout.stores.values()] + [v.shape[1] for v in plan.values if v.grid is not None]
    )
    return StepSpec(
        plan=plan,
        layout=builder.layout,
        steps=tuple(step for step in steps if step is not None),
        outputs=outputs,
        image_channels=channels,
        image_stride=round_up(channels, 4),
        longest_row=round_up(longest, 64) + 64,
        has_first=any(isinstance(step, fam.Layer) and step.first for step in steps),
        reads_windows=_reads_windows(builder.layout, [step for step in steps if step is not None], outputs),
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


class _Builder:
    """Holds what accumulates over layers."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.target = target
        self.layout = lay_out(plan, target.vector_floats)
        self.masks = {plan.input: "image_mask"}
        self.near_image = {plan.input}  # reached from the image through pointwise ops and channel views
        self.n_islands = 0
        self.n_views = 0

    def port(self, name: str) -> fam.IslandPort:
        """A value on a grid as a dense tensor; the image and views included."""
        value = self.plan.value(name)
        assert value.grid is not None
        store = self.layout.stores.get(name)
        return fam.IslandPort(
            store=-1 if store is None else store.index, channels=value.channels, grid=value.grid, offset=0,
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
            return self._island(index, layer, layer.params)
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

    def _island(self, index: int, layer: LayerSpec, params: P.Island) -> fam.IslandCall:
        inputs: list[fam.IslandPort] = []
        outputs: list[fam.IslandPort] = []
        vectors: list[int] = []
        for name in (*layer.inputs, *layer.outputs):
            value = self.plan.value(name)
            if value.grid is None:
                if name in layer.inputs:
                    vectors.append(self.layout.off_grid.index(name))
                continue
            shape = value.shape[1:]
            buffer = self.layout.buffers.get(name)
            if buffer is None:
                offset = self.layout.arena.take(4 * int(np.prod(shape)))
                buffer = self.layout.buffers[name] = DenseBuffer(value=name, offset=offset, shape=shape)
            if name in layer.outputs:
                self.masks[name] = f"mask_of(st[{self.layout.stores[name].index}])"
            port = self.port(name)
            made = fam.IslandPort(
                store=port.store,
                channels=port.channels,
                grid=port.grid,
                offset=buffer.offset,
                segments=port.segments,
                mask=port.mask,
            )
            (outputs if name in layer.outputs else inputs).append(made)
        number, self.n_islands = self.n_islands, self.n_islands + 1
        return fam.IslandCall(
            index=index, name=layer.name, number=number, inputs=tuple(inputs), vectors=tuple(vectors),
            outputs=tuple(outputs), n_off_grid=len(layer.outputs) - len(outputs),
        )  # fmt: skip

    def _sparse(self, index: int, layer: LayerSpec, near: bool) -> fam.Layer:
        first, *others = layer.inputs
        grid_in, grid_out = self.plan.grid_of(first), self.plan.grid_of(layer.output)
        store = self.layout.stores[layer.output]
        self.masks[layer.output] = f"mask_of(st[{store.index}])"
        vectors = tuple(self.layout.off_grid.index(name) for name in others if self.plan.value(name).grid is None)
        masks = tuple(self.masks[name] for name in others if self.plan.value(name).grid is not None)
        assert layer.windows is not None
        axis_y = self.layout.axis(layer.windows[0], grid_in.height, grid_out.height)
        axis_x = self.layout.axis(layer.windows[1], grid_in.width, grid_out.width)
        flags = 0
        if layer.is_windowed:
            indices = self.plan.value(first).grid, self.plan.value(layer.output).grid
            assert indices[0] is not None and indices[1] is not None
            flags = self.layout.flag(indices[0], indices[1], axis_y, axis_x, grid_out.cells)
        family, p = self._family(layer)
        return fam.Layer(
            family=family, index=index, name=layer.name, op=layer.op, store=store.index,
            segments=self.layout.segments[first], mask=self.masks[first], masks=masks, vectors=vectors,
            windowed=layer.is_windowed, axis_y=axis_y, axis_x=axis_x, flags=flags, first=layer.is_windowed and near,
            finish=self._finish(layer), p=p,
        )  # fmt: skip

    def _vector(self, name: str, channels: int) -> int:
        return self.layout.pack("vector", (name,), (channels,), round_up(channels, 64))

    def _finish(self, layer: LayerSpec) -> fam.Finish:
        channels = self.plan.value(layer.output).channels
        weights = dict(layer.weights)
        act, after = getattr(layer.params, "act", None), getattr(layer.params, "act_after", None)
        bias = weights.get("shift" if isinstance(layer.params, P.Affine) else "bias")
        residual = isinstance(layer.params, P.Conv2d | P.ConvTranspose2d) and len(layer.inputs) == 2
        return fam.Finish(
            channels=channels,
            act=fam.NUMBERS[act[0]] if act else "NONE",
            act_after=fam.NUMBERS[after[0]] if after else "NONE",
            numbers=(*activation_numbers(act), *activation_numbers(after)),
            bias=None if bias is None else self._vector(bias, channels),
            slope=self._vector(weights["slope"], channels) if "slope" in weights else None,
            residual=self.layout.segments[layer.inputs[1]] if residual else (),
        )

    def _family(self, layer: LayerSpec) -> tuple[str, object]:
        p, weights = layer.params, dict(layer.weights)
        inputs, outputs = self.plan.value(layer.inputs[0]).channels, self.plan.value(layer.output).channels
        if isinstance(p, P.Conv2d):
            return self._conv(p, weights["weight"], inputs, outputs, self._taps(layer))
        if isinstance(p, P.ConvTranspose2d):
            return "transposed", self._transposed(layer, p, weights["weight"], inputs, outputs)
        if isinstance(p, P.MaxPool2d):
            return "max_pool", None
        if isinstance(p, P.AvgPool2d):
            grid = self.plan.grid_of(layer.inputs[0])
            geometry = (
                *p.kernel,
                *p.stride,
                *p.padding,
                grid.height,
                grid.width,
                int(p.count_include_pad),
                p.divisor or 0,
            )
            return "avg_pool", fam.AvgPool(geometry=geometry)
        if isinstance(p, P.Pointwise | P.Copy):
            return "copy_rows", None
        if isinstance(p, P.Affine):
            return "affine", fam.Rows(one=self._vector(weights["scale"], outputs))
        if isinstance(p, P.ChannelNorm):
            ones = [self._vector(weights[role], outputs) if role in weights else -1 for role in ("gamma", "beta")]
            return "channel_norm", fam.Rows(one=ones[0], two=ones[1], eps=literal(p.eps))
        if isinstance(p, P.Binary):
            return "binary", self._join(layer, p, weights, outputs)
        if isinstance(p, P.Resize):
            return self._resize(layer, p)
        assert isinstance(p, P.Pad), p
        layer_axes = self._axes(layer)
        return "gather", fam.Gather(value=literal(p.value), axis_y=layer_axes[0], axis_x=layer_axes[1])

    def _axes(self, layer: LayerSpec) -> tuple[int, int]:
        assert layer.windows is not None
        grid_in, grid_out = self.plan.grid_of(layer.inputs[0]), self.plan.grid_of(layer.output)
        return (
            self.layout.axis(layer.windows[0], grid_in.height, grid_out.height),
            self.layout.axis(layer.windows[1], grid_in.width, grid_out.width),
        )

    def _taps(self, layer: LayerSpec) -> int:
        y, x = self._axes(layer)
        return self.layout.axes[y].taps * self.layout.axes[x].taps

    def _conv(self, p: P.Conv2d, weight: str, inputs: int, outputs: int, taps: int) -> tuple[str, object]:
        width = self.target.vector_floats
        if p.groups == 1:
            tile = Tile.of(outputs, self.target)
            block = tile.vectors * width
            offset = self.layout.pack("gemm", (weight,), (block,), round_up(outputs, block) * inputs * taps)
            return "gemm", fam.Gemm(cells=tile.cells, vectors=tile.vectors, weights=offset)
        if p.groups == inputs == outputs:
            row = round_up(outputs, width)
            return "depthwise", fam.Depthwise(weights=self.layout.pack("depthwise", (weight,), (row,), row * taps))
        cig, cog = inputs // p.groups, outputs // p.groups
        floats = p.groups * round_up(cog, width) * cig * taps
        offset = self.layout.pack("grouped", (weight,), (p.groups, width), floats)
        return "grouped", fam.Grouped(groups=p.groups, inputs=cig, outputs=cog, weights=offset)

    def _transposed(
        self, layer: LayerSpec, p: P.ConvTranspose2d, weight: str, inputs: int, outputs: int
    ) -> fam.Transposed:
        kernel = next(w.shape for w in self.plan.weights if w.name == weight)[2:]
        axes = [self.layout.axes[i] for i in self._axes(layer)]
        tables = [
            transposed_taps(k, s, pad, d) for k, s, pad, d in zip(kernel, p.stride, p.padding, p.dilation, strict=True)
        ]
        tile = Tile.of(outputs, self.target)
        block = tile.vectors * self.target.vector_floats if p.groups == 1 else self.target.vector_floats
        cig, cog = inputs // p.groups, outputs // p.groups
        floats = p.groups * round_up(cog, block) * cig * axes[0].taps * axes[1].taps
        phases = []
        for y in range(p.stride[0]):
            for x in range(p.stride[1]):
                meta = [p.groups, block, axes[0].taps]
                for axis, phase, table in ((axes[0], y, tables[0]), (axes[1], x, tables[1])):
                    used = [tap for tap, _ in table[phase]]
                    missing = axis.taps - len(used)
                    meta += [*used, *[0] * missing, *[1] * len(used), *[0] * missing]
                offset = self.layout.pack("transposed", (weight,), tuple(meta), floats)
                phases.append(fam.Phase(y=y, x=x, weights=offset))
        return fam.Transposed(
            stride=p.stride,
            phases=tuple(phases),
            gemm=fam.Gemm(cells=tile.cells, vectors=tile.vectors, weights=0) if p.groups == 1 else None,
            grouped=None if p.groups == 1 else fam.Grouped(groups=p.groups, inputs=cig, outputs=cog, weights=0),
        )

    def _join(self, layer: LayerSpec, p: P.Binary, weights: dict[str, str], channels: int) -> fam.Join:
        if p.operand == "value":
            return fam.Join(kind=p.kind.upper(), swapped=p.swapped, other=self.layout.segments[layer.inputs[1]])
        scalar: tuple[str, ...] = ()
        if p.operand == "scalar":
            scalar, constant = (literal(p.scalar),) * round_up(channels, self.target.vector_floats), "scalar"
        elif p.operand == "weight":
            constant = f"a->weights + {self._vector(weights['operand'], channels)}"
        else:
            name = layer.inputs[1]
            if name not in self.layout.vectors:
                # one number for all channels may be read by layers of different widths
                widest = max(
                    self.plan.value(other.output).channels for other in self.plan.layers if name in other.inputs[1:]
                )
                offset = self.layout.arena.take(4 * round_up(widest, 64))
                self.layout.vectors[name] = DenseBuffer(value=name, offset=offset, shape=(widest,))
            constant = f"(const float*)(m + {self.layout.vectors[name].offset})"
        return fam.Join(kind=p.kind.upper(), swapped=p.swapped, constant=constant, scalar=scalar)

    def _resize(self, layer: LayerSpec, p: P.Resize) -> tuple[str, object]:
        grid_in, grid_out = self.plan.grid_of(layer.inputs[0]), self.plan.grid_of(layer.output)
        scales = p.scale or (None, None)
        sizes = (grid_in.height, grid_out.height, scales[0]), (grid_in.width, grid_out.width, scales[1])
        if p.mode == "bilinear":
            y, x = (_lerp_axis(lerp(n_in, n_out, scale, p.align_corners)) for n_in, n_out, scale in sizes)
            return "bilinear", fam.Bilinear(y=y, x=x)
        axes = [
            self.layout.axis(table_window([[i] for i in nearest_sources(n_in, n_out, scale)]), n_in, n_out)
            for n_in, n_out, scale in sizes
        ]
        return "gather", fam.Gather(value="0", axis_y=axes[0], axis_x=axes[1])


def _lerp_axis(axis: Lerp) -> fam.LerpAxis:
    return fam.LerpAxis(
        low=tuple(axis.low.tolist()), high=tuple(axis.high.tolist()), share=tuple(literal(float(v)) for v in axis.share)
    )
