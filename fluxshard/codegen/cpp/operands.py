"""What every sparse layer reads: its family, packed weights, axes and epilogue, allocated in plan order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.literals import ACTIVATION_NAMES, activation_numbers, literal
from fluxshard.codegen.common.resampling import Lerp, lerp
from fluxshard.codegen.cpp import families as fam
from fluxshard.codegen.cpp.allocation import Allocator
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.geometry import Window, table_window, transposed_taps
from fluxshard.ir import params as P
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.windows import nearest_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """What the template reads of one sparse layer beside its place in the network.

    Attributes:
      family: block of the template.
      params: of the family.
      finish: the epilogue.
      axis_y, axis_x: indices of the axes of its window.
      flags: index of its window rule; 0 where it is not windowed.
    """

    family: str
    params: object
    finish: fam.Epilogue
    axis_y: int
    axis_x: int
    flags: int


def allocate_operands(
    plan: Plan, target: Target, allocator: Allocator, in_torch: Collection[str], tiles: Mapping[str, Tile]
) -> dict[str, Operands]:
    """Takes the memory that layers need, and the buffers of islands that run in torch.

    Args:
      plan: the network.
      target: decides tiles and the width of vectors.
      allocator: of the plan.
      in_torch: names of those islands.
      tiles: measured ones, by layer; the rule has those of others.

    Returns:
      the operands of every sparse layer, by name.
    """
    families = _Families(plan, target, allocator, tiles)
    operands: dict[str, Operands] = {}
    for layer in plan.layers:
        if isinstance(layer.params, P.Island):
            for name in (*layer.inputs, *layer.outputs) if layer.name in in_torch else ():
                if plan.value(name).grid is not None:
                    allocator.buffer(name)
        elif layer.mode == "sparse":
            operands[layer.name] = families.operands(layer)
    return operands


class _Families:
    """Chooses the family of a layer and takes its memory."""

    def __init__(self, plan: Plan, target: Target, allocator: Allocator, tiles: Mapping[str, Tile]) -> None:
        self._plan = plan
        self._target = target
        self._allocator = allocator
        self._tiles = tiles

    def operands(self, layer: LayerSpec) -> Operands:
        """Everything of one sparse layer, in the order in which it has always been laid out."""
        axis_y, axis_x = self._allocator.axes_of(layer)
        flags = 0
        if layer.is_windowed:
            grid_in, grid_out = self._plan.value(layer.inputs[0]).grid, self._plan.value(layer.output).grid
            assert grid_in is not None and grid_out is not None
            flags = self._allocator.flag(grid_in, grid_out, axis_y, axis_x)
        family, params = self._family(layer)
        return Operands(
            family=family, params=params, finish=self._finish(layer), axis_y=axis_y, axis_x=axis_x, flags=flags
        )

    def _vector(self, name: str, channels: int) -> int:
        return self._allocator.pack("vector", (name,), (channels,), round_up(channels, 64))

    def _finish(self, layer: LayerSpec) -> fam.Epilogue:
        channels = self._plan.value(layer.output).channels
        weights = dict(layer.weights)
        act, after = getattr(layer.params, "act", None), getattr(layer.params, "act_after", None)
        bias = weights.get("shift" if isinstance(layer.params, P.Affine) else "bias")
        residual = isinstance(layer.params, P.Conv2d | P.ConvTranspose2d) and len(layer.inputs) == 2
        return fam.Epilogue(
            channels=channels,
            act=ACTIVATION_NAMES[act[0]] if act else "NONE",
            act_after=ACTIVATION_NAMES[after[0]] if after else "NONE",
            numbers=(*activation_numbers(act), *activation_numbers(after)),
            bias=None if bias is None else self._vector(bias, channels),
            slope=self._vector(weights["slope"], channels) if "slope" in weights else None,
            residual=self._allocator.segments_of(layer.inputs[1]) if residual else (),
        )

    def _family(self, layer: LayerSpec) -> tuple[str, object]:
        p, weights = layer.params, dict(layer.weights)
        outputs = self._plan.value(layer.output).channels
        if isinstance(p, P.Conv2d):
            return self._conv(p, weights["weight"], layer, outputs)
        if isinstance(p, P.ConvTranspose2d):
            return "transposed", self._transposed(layer, p, weights["weight"], outputs)
        if isinstance(p, P.MaxPool2d):
            return "max_pool", None
        if isinstance(p, P.AvgPool2d):
            grid = self._plan.grid_of(layer.inputs[0])
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
            return "affine", fam.ConstantRows(one=self._vector(weights["scale"], outputs))
        if isinstance(p, P.ChannelNorm):
            ones = [self._vector(weights[role], outputs) if role in weights else -1 for role in ("gamma", "beta")]
            return "channel_norm", fam.ConstantRows(one=ones[0], two=ones[1], eps=literal(p.eps))
        if isinstance(p, P.Binary):
            return "binary", self._join(layer, p, weights, outputs)
        if isinstance(p, P.Resize):
            return self._resize(layer, p)
        assert isinstance(p, P.Pad), p
        layer_axes = self._allocator.axes_of(layer)
        return "gather", fam.Gather(value=literal(p.value), axis_y=layer_axes[0], axis_x=layer_axes[1])

    def _taps(self, layer: LayerSpec) -> int:
        y, x = self._allocator.axes_of(layer)
        return self._allocator.axes[y].taps * self._allocator.axes[x].taps

    def _tile(self, layer: LayerSpec, outputs: int) -> Tile:
        return self._tiles.get(layer.name) or Tile.of(outputs, self._target)

    def _conv(self, p: P.Conv2d, weight: str, layer: LayerSpec, outputs: int) -> tuple[str, object]:
        width, taps = self._target.vector_floats, self._taps(layer)
        inputs = self._plan.value(layer.inputs[0]).channels
        if p.groups == 1:
            tile = self._tile(layer, outputs)
            block = tile.vectors * width
            if self._joins(layer, p):
                columns = self._allocator.axes[self._allocator.axes_of(layer)[1]].taps
                row = columns * round_up(inputs, 4)
                depths: tuple[int, ...] = () if self._target.dtype == "float32" else (row,)
                floats = self._panel_floats(round_up(outputs, block) * (taps // columns), row, depths)
                offset = self._allocator.pack("joined", (weight,), (block, *depths), floats)
                return "gemm", fam.Convolution(cells=tile.cells, vectors=tile.vectors, weights=offset, joined=True)
            if self._slides_by_one(layer):
                depths = () if self._target.dtype == "float32" else (inputs,)
                floats = self._panel_floats(round_up(outputs, block) * 16, inputs, depths)
                offset = self._allocator.pack("winograd", (weight,), (block, *depths), floats)
                return "winograd", fam.Winograd(cells=tile.cells, vectors=tile.vectors, inputs=inputs, weights=offset)
            depths = self._depths(layer)
            floats = self._panel_floats(round_up(outputs, block) * taps, inputs, depths)
            offset = self._allocator.pack("gemm", (weight,), (block, *depths), floats)
            return "gemm", fam.Convolution(cells=tile.cells, vectors=tile.vectors, weights=offset)
        if p.groups == inputs == outputs:
            row = round_up(outputs, width)
            return "depthwise", fam.Depthwise(weights=self._allocator.pack("depthwise", (weight,), (row,), row * taps))
        cig, cog = inputs // p.groups, outputs // p.groups
        floats = p.groups * round_up(cog, width) * cig * taps
        offset = self._allocator.pack("grouped", (weight,), (p.groups, width), floats)
        return "grouped", fam.Grouped(groups=p.groups, inputs=cig, outputs=cog, weights=offset)

    def _joins(self, layer: LayerSpec, p: P.Conv2d) -> bool:
        """Whether the pixels of a window's row lie side by side: in the image, if padded channels cost little."""
        segments = self._allocator.segments_of(layer.inputs[0])
        dense = len(segments) == 1 and segments[0].store < 0 and -segments[0].count % 4 <= 1
        return dense and p.dilation[1] == 1 and self._allocator.axes[self._allocator.axes_of(layer)[1]].taps <= 16

    def _slides_by_one(self, layer: LayerSpec) -> bool:
        """Whether Winograd's tiles serve: a 3x3 window that slides by one, over whole vectors of channels."""
        assert layer.windows is not None
        segments = self._allocator.segments_of(layer.inputs[0])
        whole = all(segment.store >= 0 and segment.count % 16 == 0 for segment in segments)
        return whole and all(_is_three_in_a_row(window) for window in layer.windows)

    def _depths(self, layer: LayerSpec) -> tuple[int, ...]:
        """Channels of each segment of the input, where packing depends on them: pairs do not cross segments."""
        if self._target.dtype == "float32":
            return ()
        return tuple(segment.count for segment in self._allocator.segments_of(layer.inputs[0]))

    @staticmethod
    def _panel_floats(rows: int, inputs: int, depths: tuple[int, ...]) -> int:
        """Size in floats of so many packed rows of all input channels."""
        return rows * inputs if not depths else rows * sum(round_up(n, 2) for n in depths) // 2

    def _transposed(self, layer: LayerSpec, p: P.ConvTranspose2d, weight: str, outputs: int) -> fam.Transposed:
        inputs = self._plan.value(layer.inputs[0]).channels
        kernel = next(w.shape for w in self._plan.weights if w.name == weight)[2:]
        axes = [self._allocator.axes[i] for i in self._allocator.axes_of(layer)]
        tables = [
            transposed_taps(k, s, pad, d) for k, s, pad, d in zip(kernel, p.stride, p.padding, p.dilation, strict=True)
        ]
        tile = self._tile(layer, outputs)
        block = tile.vectors * self._target.vector_floats if p.groups == 1 else self._target.vector_floats
        cig, cog = inputs // p.groups, outputs // p.groups
        depths = self._depths(layer) if p.groups == 1 else ()
        floats = self._panel_floats(p.groups * round_up(cog, block) * axes[0].taps * axes[1].taps, cig, depths)
        phases = []
        for y in range(p.stride[0]):
            for x in range(p.stride[1]):
                meta = [p.groups, block, axes[0].taps]
                for axis, phase, table in ((axes[0], y, tables[0]), (axes[1], x, tables[1])):
                    used = [tap for tap, _ in table[phase]]
                    missing = axis.taps - len(used)
                    meta += [*used, *[0] * missing, *[1] * len(used), *[0] * missing]
                offset = self._allocator.pack("transposed", (weight,), (*meta, -1, *depths), floats)
                phases.append(fam.Phase(y=y, x=x, weights=offset))
        return fam.Transposed(
            stride=p.stride,
            phases=tuple(phases),
            gemm=fam.Convolution(cells=tile.cells, vectors=tile.vectors, weights=0) if p.groups == 1 else None,
            grouped=None if p.groups == 1 else fam.Grouped(groups=p.groups, inputs=cig, outputs=cog, weights=0),
        )

    def _join(self, layer: LayerSpec, p: P.Binary, weights: dict[str, str], channels: int) -> fam.Join:
        if p.operand == "value":
            return fam.Join(kind=p.kind.upper(), swapped=p.swapped, other=self._allocator.segments_of(layer.inputs[1]))
        scalar: tuple[str, ...] = ()
        if p.operand == "scalar":
            scalar, constant = (literal(p.scalar),) * round_up(channels, self._target.vector_floats), "scalar"
        elif p.operand == "weight":
            constant = f"a->weights + {self._vector(weights['operand'], channels)}"
        else:
            constant = f"(const float*)(m + {self._allocator.vector(layer.inputs[1]).offset})"
        return fam.Join(kind=p.kind.upper(), swapped=p.swapped, constant=constant, scalar=scalar)

    def _resize(self, layer: LayerSpec, p: P.Resize) -> tuple[str, object]:
        grid_in, grid_out = self._plan.grid_of(layer.inputs[0]), self._plan.grid_of(layer.output)
        scales = p.scale or (None, None)
        sizes = (grid_in.height, grid_out.height, scales[0]), (grid_in.width, grid_out.width, scales[1])
        if p.mode == "bilinear":
            y, x = (_lerp_axis(lerp(n_in, n_out, scale, p.align_corners)) for n_in, n_out, scale in sizes)
            return "bilinear", fam.Bilinear(y=y, x=x)
        axes = [
            self._allocator.axis(table_window([[i] for i in nearest_sources(n_in, n_out, scale)]), n_in, n_out)
            for n_in, n_out, scale in sizes
        ]
        return "gather", fam.Gather(value="0", axis_y=axes[0], axis_x=axes[1])


def _is_three_in_a_row(window: Window) -> bool:
    first = window.offsets[0][0] if window.offsets[0] else 0
    return window == Window(offsets=((first, first + 1, first + 2),))


def _lerp_axis(axis: Lerp) -> fam.LerpAxis:
    return fam.LerpAxis(
        low=tuple(axis.low.tolist()), high=tuple(axis.high.tolist()), share=tuple(literal(float(v)) for v in axis.share)
    )
