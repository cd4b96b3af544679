"""Annotates every node with its parameters, grid, windows and receptive fields."""

from __future__ import annotations

from fractions import Fraction

from torch import fx

from fluxshard.geometry import Grid, ReceptiveField, Window
from fluxshard.ir.params import Binary, Params
from fluxshard.ir.windows import windows_of
from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import overload, tensor_inputs
from fluxshard.passes.support.meta import annotate, forget, info, is_map, shape
from fluxshard.passes.support.params_of import params_of

# Whole maps of any size from whole maps; what reads the result runs on its cells again.
_RESAMPLES = frozenset({
    "aten.upsample_bicubic2d.default", "aten.upsample_bicubic2d.vec", "aten._upsample_bicubic2d_aa.default",
    "aten._upsample_bicubic2d_aa.vec", "aten._upsample_bilinear2d_aa.default", "aten._upsample_bilinear2d_aa.vec",
    "aten._upsample_nearest_exact2d.default", "aten._upsample_nearest_exact2d.vec", "aten.upsample_bilinear2d.vec",
    "aten.upsample_nearest2d.vec", "aten.adaptive_avg_pool2d.default", "aten._adaptive_avg_pool2d.default",
    "aten.adaptive_max_pool2d.default", "aten.grid_sampler.default", "aten.grid_sampler_2d.default",
    "aten.conv2d.default", "aten.conv_transpose2d.input", "aten.pad.default", "aten.pixel_shuffle.default",
    "aten.pixel_unshuffle.default", "aten.col2im.default", "aten.avg_pool2d.default", "aten.max_pool2d.default",
    "torchvision.deform_conv2d.default",
})  # fmt: skip

Fields = tuple[ReceptiveField, ReceptiveField]


def annotate_receptive_field(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Annotates each value with its grid of cells, and each cell with the input cells and image pixels that it reads.

    Given:
        y (1, 16, 40, 40) = conv2d(x, w, None, [2, 2], [1, 1])  # x (1, 3, 80, 80) is the image, w (16, 3, 3, 3)
        s (1, 16, 40, 40) = softmax(y, 1)
    Result: the same graph, annotated:
        x (1, 3, 80, 80)   grid 80x80 of stride 1
        y (1, 16, 40, 40)  Conv2d(stride=(2, 2), padding=((1, 1), (1, 1))), grid 40x40 of stride 2, per axis
                           Window(2, 1, ((-1, 0, 1),)) and ReceptiveField(size=3, stride=2, offset=-1)
        s (1, 16, 40, 40)  grid 40x40 of stride 2, reason "aten.softmax.int: softmax over an axis"

    An op that runs dense gets a reason instead of windows, and a grid only where its result has the size of a grid that
    flows into it, or where it resamples a map: then cells are as far apart as the sizes say. Earlier annotations are
    replaced.

    Leaves alone: all nodes; only `node.meta["fluxshard"]` is written.
    """
    del options
    flowing: dict[fx.Node, tuple[Grid, ...]] = {}  # grids that the result of a dense op may be on
    for node in graph_module.graph.nodes:
        forget(node)
        if node.op == "placeholder" and is_map(node):
            height, width = shape(node)[2:]
            annotate(node, grid=Grid(height, width), fields=(ReceptiveField(), ReceptiveField()))
        elif node.op == "call_function":
            _annotate(node, flowing)
        grid = info(node).grid
        if grid is not None and not info(node).reason:
            flowing[node] = (grid,)
        else:
            flowing[node] = tuple(dict.fromkeys(grid for source in node.all_input_nodes for grid in flowing[source]))
    return graph_module


def mapped_inputs(node: fx.Node, params: Params) -> list[fx.Node]:
    """Inputs that must be on a grid, in order; windows are those of the first."""
    sources = [source for source in tensor_inputs(node) if source.op != "get_attr"]
    if isinstance(params, Binary) and params.operand == "vector":
        return [source for source in sources if shape(source) == shape(node)][:1]
    return sources


def _annotate(node: fx.Node, flowing: dict[fx.Node, tuple[Grid, ...]]) -> None:
    params = params_of(node)
    reason = params if isinstance(params, str) else _obstacle(node, params)
    if isinstance(params, str) or reason:
        annotate(node, reason=reason, grid=_fitting(node, flowing))
        return
    sources = mapped_inputs(node, params)
    windows = node_windows(node, params)
    grid = info(sources[0]).grid
    assert grid is not None
    height, width = shape(node)[2:]
    annotate(
        node,
        params=params,
        windows=windows,
        grid=grid.through(*windows, height, width),
        fields=_fields(sources, windows, node),
    )


def node_windows(node: fx.Node, params: Params) -> tuple[Window, Window]:
    """(y, x) windows from the first mapped input to the output of a call with these parameters."""
    source = mapped_inputs(node, params)[0]
    height_in, width_in = shape(source)[2:]
    height, width = shape(node)[2:]
    kernel = None
    if params.op in ("conv2d", "conv_transpose2d"):
        weight = node.args[1]
        assert isinstance(weight, fx.Node)
        kernel = shape(weight)[2], shape(weight)[3]
    return windows_of(params, (height_in, width_in), (height, width), kernel)


def _obstacle(node: fx.Node, params: Params) -> str:
    """Why a call with parameters cannot be a layer: its inputs are on no grid or on several; empty where it can."""
    sources = mapped_inputs(node, params)
    if not sources:
        return "none of its inputs is a map"
    grids = [info(source).grid for source in sources]
    for source, grid in zip(sources, grids, strict=True):
        if grid is None:
            return f"its input {source.name} has no grid"
    if params.op in ("conv2d", "conv_transpose2d"):
        first = grids[0]
        assert first is not None
        height, width = shape(node)[2:]
        grids[0] = first.through(*node_windows(node, params), height, width)
    if len(set(grids)) > 1:
        return f"its inputs are on different grids: {' and '.join(_describe(grid) for grid in dict.fromkeys(grids))}"
    if isinstance(params, Binary) and params.operand == "vector":
        vector = next(source for source in tensor_inputs(node) if source is not sources[0])
        if info(vector).grid is not None:
            return f"its operand {vector.name} is a map of one cell, not a vector"
    return ""


def _describe(grid: Grid | None) -> str:
    assert grid is not None
    return f"{grid.height}x{grid.width} of stride {grid.stride_y}x{grid.stride_x}"


def _fitting(node: fx.Node, flowing: dict[fx.Node, tuple[Grid, ...]]) -> Grid | None:
    size = shape(node)[2:]
    if not is_map(node) or size == (1, 1):
        return None
    for source in node.all_input_nodes:
        for grid in flowing[source]:
            if (grid.height, grid.width) == size:
                return grid
    before = info(node.all_input_nodes[0]).grid if node.all_input_nodes else None
    if before is None or overload(node) not in _RESAMPLES:
        return None
    height, width = size
    steps = Fraction(before.height, height), Fraction(before.width, width)
    return Grid(height, width, before.stride_y * steps[0], before.stride_x * steps[1])


def _fields(sources: list[fx.Node], windows: tuple[Window, Window], node: fx.Node) -> Fields | None:
    before = [info(source).fields for source in sources]
    first = before[0]
    if first is None or any(fields is None for fields in before):
        return None
    found = []
    for axis in (0, 1):
        field = first[axis].through(windows[axis], shape(sources[0])[2 + axis], shape(node)[2 + axis])
        for other in before[1:]:
            assert other is not None
            field = field.union(other[axis])
        found.append(field)
    return found[0], found[1]
