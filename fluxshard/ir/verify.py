"""Invariants of a Plan, each with its reason above it.

Generators yield `(where, kept, rule)`. The first rule that is not kept raises an error, so each may rely on the rules
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from fluxshard.errors import PlanError
from fluxshard.geometry import Grid
from fluxshard.ir.params import (
    ACTIVATIONS,
    VIEWS,
    Activation,
    Affine,
    Argument,
    AvgPool2d,
    Binary,
    Cat,
    ChannelSlice,
    Conv2d,
    ConvTranspose2d,
    Island,
    MaxPool2d,
    Pad,
    Pair,
    Pointwise,
    Ref,
    Resize,
    UpsampleNearest,
)
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ir.windows import windows_of

Checks = Iterator[tuple[str, bool, str]]

# op -> roles of its weights: (required, optional)
_ROLES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "conv2d": (frozenset({"weight"}), frozenset({"bias", "slope"})),
    "conv_transpose2d": (frozenset({"weight"}), frozenset({"bias", "slope"})),
    "pointwise": (frozenset(), frozenset({"slope"})),
    "affine": (frozenset({"scale", "shift"}), frozenset({"slope"})),
    "channel_norm": (frozenset(), frozenset({"gamma", "beta"})),
    "binary": (frozenset(), frozenset({"operand", "slope"})),
}


def verify(plan: Plan) -> None:
    """Checks every invariant of a plan.

    Raises:
      PlanError: a rule is broken; names the layer or value, and the rule.
    """
    for part in (_values(plan), _order(plan), *(_layer(plan, layer) for layer in plan.layers), _outputs(plan)):
        for where, kept, rule in part:
            if not kept:
                raise PlanError(f"plan {plan.name}: {where}: {rule}")


def _values(plan: Plan) -> Checks:
    # names are keys of thresholds, statistics and buffers
    yield "values", _unique([value.name for value in plan.values]), "each value has its own name"
    yield "layers", _unique([layer.name for layer in plan.layers]), "each layer has its own name"
    yield "weights", _unique([weight.name for weight in plan.weights]), "each weight has its own name"
    yield "grids", _unique(list(plan.grids)), "each grid is listed once: fields are computed once per grid"
    names = {value.name for value in plan.values}
    yield plan.input, plan.input in names, "the image is a value"
    image = plan.value(plan.input)
    # motion is in pixels of the image; strides are relative to it
    yield (
        plan.input,
        image.grid == 0 and plan.grids[0] == Grid(image.shape[2], image.shape[3]),
        "the first grid is the image's, of stride 1",
    )
    for value in plan.values:
        # an index out of range would take the motion of another grid
        yield value.name, value.grid is None or 0 <= value.grid < len(plan.grids), "its grid is one of the plan's"
        if value.grid is not None:
            grid = plan.grids[value.grid]
            # every cell has one row of features
            yield (
                value.name,
                value.shape[0] == 1 and value.shape[2:] == (grid.height, grid.width),
                "its shape is (1, C, H, W) of its grid",
            )


def _order(plan: Plan) -> Checks:
    ready = {plan.input}
    names = {value.name for value in plan.values}
    weights = {weight.name: weight for weight in plan.weights}
    for layer in plan.layers:
        for name in layer.inputs:
            # layers run in order, once
            yield layer.name, name in ready, f"input {name!r} is produced before it is used"
        for name in layer.outputs:
            # a value has one producer
            yield (
                layer.name,
                name in names and name not in ready,
                f"output {name!r} is a value that no other layer produces",
            )
            ready.add(name)
        for role, name in layer.weights:
            # weights travel beside the plan
            yield layer.name, name in weights, f"its {role} {name!r} is a weight of the plan"
    # a value without a producer would be read uninitialised
    yield "values", ready == names, f"every value is produced: {', '.join(sorted(names - ready)) or 'all are'}"
    used = {name for layer in plan.layers for _, name in layer.weights}
    # weights that no layer reads would still be sent and hashed
    yield (
        "weights",
        used == set(weights),
        f"every weight is read: {', '.join(sorted(set(weights) - used)) or 'all are'}",
    )


def _outputs(plan: Plan) -> Checks:
    names = {value.name for value in plan.values}
    # a model whose outputs are all literals has nothing to run
    yield "outputs", any(leaf.value is not None for leaf in plan.outputs), "at least one output is a value"
    for index, leaf in enumerate(plan.outputs):
        yield f"output {index}", leaf.value is None or leaf.value in names, f"{leaf.value!r} is a value"


def _layer(plan: Plan, layer: LayerSpec) -> Checks:
    where = layer.name
    island = isinstance(layer.params, Island)
    # the mode decides which state a layer owns
    yield (
        where,
        layer.mode == ("dense" if island else "view" if layer.op in VIEWS else "sparse"),
        f"{layer.mode!r} is not how a {layer.op} runs",
    )
    yield where, layer.macs >= 0, "its work is not negative"
    yield where, len(layer.inputs) > 0 and len(layer.outputs) > 0, "it has inputs and outputs"
    if island:
        yield from _island(layer)
        return
    yield where, len(layer.outputs) == 1, "only islands have several outputs"
    yield where, plan.value(layer.output).grid is not None, "its output is on a grid"
    yield where, plan.value(layer.inputs[0]).grid is not None, "its input is on a grid"
    # the buffer of the image is overwritten each frame: a view of it would have no earlier rows
    yield where, layer.mode != "view" or plan.input not in layer.inputs, "a view reads a copy of the image"
    yield from _inputs(plan, layer)
    yield from _weights(plan, layer)
    yield from _activations(layer)
    yield from _shape(plan, layer)
    yield from _windows(plan, layer)


def _inputs(plan: Plan, layer: LayerSpec) -> Checks:
    where, params = layer.name, layer.params
    out = plan.value(layer.output)
    allowed = {"binary": (1, 2), "conv2d": (1, 2), "conv_transpose2d": (1, 2)}.get(layer.op, (1, 1))
    yield (
        where,
        isinstance(params, Cat) or allowed[0] <= len(layer.inputs) <= allowed[1],
        f"a {layer.op} has not {len(layer.inputs)} inputs",
    )
    others = [plan.value(name) for name in layer.inputs[1:]]
    if isinstance(params, Binary):
        expected = 2 if params.operand in ("value", "vector") else 1
        yield where, len(layer.inputs) == expected, f"operand {params.operand!r} takes {expected} inputs"
    if isinstance(params, Binary) and params.operand == "vector":
        # an operand that is broadcast over the map has no cells
        yield (
            where,
            others[0].grid is None and others[0].shape in ((1, out.channels, 1, 1), (1, 1, 1, 1)),
            "its vector is (1, C, 1, 1) and on no grid",
        )
        return
    for other in others:
        # masks of several inputs are united cell by cell
        yield where, other.grid == out.grid, f"{other.name!r} is on the grid of the result"
        yield where, isinstance(params, Cat) or other.shape == out.shape, f"{other.name!r} has the shape of the result"


def _weights(plan: Plan, layer: LayerSpec) -> Checks:
    where, params = layer.name, layer.params
    required, optional = _ROLES.get(layer.op, (frozenset(), frozenset()))
    roles = dict(layer.weights)
    yield where, len(roles) == len(layer.weights), "each role is given once"
    yield where, required <= set(roles) <= required | optional, f"roles {sorted(roles)} are not those of a {layer.op}"
    shapes = {weight.name: weight.shape for weight in plan.weights if weight.name in roles.values()}
    dtypes = {weight.dtype for weight in plan.weights if weight.name in roles.values()}
    yield where, dtypes <= {"float32"}, "its weights are float32"
    channels_in, channels = plan.value(layer.inputs[0]).channels, plan.value(layer.output).channels
    if isinstance(params, Conv2d):
        weight = shapes[roles["weight"]]
        yield (
            where,
            len(weight) == 4 and weight[:2] == (channels, channels_in // params.groups),
            f"its weight {weight} is (Co, Ci / groups, kh, kw)",
        )
        yield where, channels_in % params.groups == 0 and channels % params.groups == 0, "groups divide the channels"
    if isinstance(params, ConvTranspose2d):
        weight = shapes[roles["weight"]]
        yield (
            where,
            len(weight) == 4 and weight[:2] == (channels_in, channels // params.groups),
            f"its weight {weight} is (Ci, Co / groups, kh, kw)",
        )
    if isinstance(params, Binary):
        yield where, ("operand" in roles) == (params.operand == "weight"), "a constant operand is a weight"
    for role, name in roles.items():
        if role == "operand":
            yield (
                where,
                shapes[name] in ((1, channels, 1, 1), (1, 1, 1, 1)),
                f"its operand {shapes[name]} is (1, C, 1, 1)",
            )
        elif role != "weight":
            yield where, shapes[name] == (channels,), f"its {role} {shapes[name]} is ({channels},)"


def _activations(layer: LayerSpec) -> Checks:
    acts = _acts(layer)
    for act in acts:
        # the numbers are arguments of the kernel's activation function
        yield (
            layer.name,
            act[0] in ACTIVATIONS and len(act) - 1 == ACTIVATIONS[act[0]],
            f"{act!r} is an activation with its numbers",
        )
    n_prelu = sum(act[0] == "prelu" for act in acts)
    # a layer has one weight of role slope
    yield layer.name, n_prelu <= 1, "at most one PReLU"
    yield layer.name, ("slope" in dict(layer.weights)) == (n_prelu == 1), "slopes are there for a PReLU only"
    if isinstance(layer.params, (Conv2d, ConvTranspose2d)):
        yield (
            layer.name,
            layer.params.act_after is None or len(layer.inputs) == 2,
            "an activation after the sum needs a residual",
        )


def _acts(layer: LayerSpec) -> list[Activation]:
    params = layer.params
    if isinstance(params, (Conv2d, ConvTranspose2d)):
        return [act for act in (params.act, params.act_after) if act is not None]
    if isinstance(params, (Pointwise, Affine, Binary)) and params.act is not None:
        return [params.act]
    return []


def _shape(plan: Plan, layer: LayerSpec) -> Checks:
    where, params = layer.name, layer.params
    before, after = plan.value(layer.inputs[0]), plan.value(layer.output)
    (height, width), channels = _size_out(plan, layer), after.channels
    yield (
        where,
        after.shape[2:] == (height, width),
        f"its result has {height}x{width} cells, not {after.shape[2]}x{after.shape[3]}",
    )
    if isinstance(params, Cat):
        yield (
            where,
            channels == sum(plan.value(name).channels for name in layer.inputs),
            "a cat has the channels of its inputs",
        )
    elif isinstance(params, ChannelSlice):
        yield (
            where,
            0 <= params.start < params.stop <= before.channels,
            f"channels [{params.start}, {params.stop}) are there",
        )
        yield where, channels == params.stop - params.start, "a slice has the channels that it takes"
    elif not isinstance(params, (Conv2d, ConvTranspose2d)):
        yield where, channels == before.channels, "it keeps the channels"


def _size_out(plan: Plan, layer: LayerSpec) -> Pair:
    params = layer.params
    n_in = cast(Pair, plan.value(layer.inputs[0]).shape[2:])
    kernel = _kernel(plan, layer)
    sizes = []
    for axis in (0, 1):
        n = n_in[axis]
        if isinstance(params, Conv2d):
            assert kernel is not None
            n = (n + sum(params.padding[axis]) - params.dilation[axis] * (kernel[axis] - 1) - 1) // params.stride[
                axis
            ] + 1
        elif isinstance(params, ConvTranspose2d):
            assert kernel is not None
            span = params.dilation[axis] * (kernel[axis] - 1) + params.output_padding[axis] + 1
            n = (n - 1) * params.stride[axis] - 2 * params.padding[axis] + span
        elif isinstance(params, (MaxPool2d, AvgPool2d)):
            n = _pooled(params, n, axis)
        elif isinstance(params, Pad):
            n += sum(params.pads[axis])
        elif isinstance(params, UpsampleNearest):
            n *= params.factor[axis]
        elif isinstance(params, Resize):
            n = params.size[axis]
        sizes.append(n)
    return sizes[0], sizes[1]


def _pooled(params: MaxPool2d | AvgPool2d, n: int, axis: int) -> int:
    dilation = params.dilation[axis] if isinstance(params, MaxPool2d) else 1
    stride, padding = params.stride[axis], params.padding[axis]
    room = n + 2 * padding - dilation * (params.kernel[axis] - 1) - 1
    cells = (-(-room // stride) if params.ceil_mode else room // stride) + 1
    # torch: in ceil mode no window starts in the padding after the input
    return cells - 1 if params.ceil_mode and (cells - 1) * stride >= n + padding else cells


def _windows(plan: Plan, layer: LayerSpec) -> Checks:
    before, after = plan.value(layer.inputs[0]), plan.value(layer.output)
    sizes = cast(Pair, before.shape[2:]), cast(Pair, after.shape[2:])
    windows = windows_of(layer.params, *sizes, _kernel(plan, layer))
    # masks propagate through windows: a missing tap would miss changes
    yield layer.name, layer.windows == windows, "its windows are those of its parameters"
    grid = plan.grid_of(before.name).through(*windows, *sizes[1])
    yield layer.name, plan.grid_of(after.name) == grid, "its grid follows from its input's"


def _kernel(plan: Plan, layer: LayerSpec) -> Pair | None:
    name = dict(layer.weights).get("weight")
    return next((cast(Pair, weight.shape[2:]) for weight in plan.weights if weight.name == name), None)


def _island(layer: LayerSpec) -> Checks:
    assert isinstance(layer.params, Island)
    known = {*layer.inputs, *(name for _, name in layer.weights)}
    # weights and results of steps share one namespace
    yield layer.name, all(role == name for role, name in layer.weights), "each weight's role is its name"
    yield layer.name, layer.windows is None and layer.fields is None, "an island has no window"
    for step in layer.params.steps:
        # targets are resolved against torch.ops at run time
        yield layer.name, step.target == "getitem" or step.target.count(".") == 2, f"{step.target!r} is an overload"
        missing = sorted(set(_refs((step.args, *(value for _, value in step.kwargs)))) - known)
        yield layer.name, not missing, f"step {step.name!r} reads {missing}, which nothing produced"
        yield layer.name, step.name not in known, f"step {step.name!r} has its own name"
        known.add(step.name)
    produced = {step.name for step in layer.params.steps}
    yield layer.name, set(layer.outputs) <= produced, "its outputs are results of its steps"


def _refs(argument: Argument) -> Iterator[str]:
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, tuple):
        for item in argument:
            yield from _refs(item)


def _unique(names: list[object] | list[str] | list[Grid]) -> bool:
    return len(set(names)) == len(names)
