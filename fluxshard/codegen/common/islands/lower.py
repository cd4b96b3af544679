"""From the torch ops of an island to dense ops."""

from __future__ import annotations

from collections.abc import Mapping

from fluxshard.codegen.common.islands.builder import Builder, Unsupported
from fluxshard.codegen.common.islands.dense_ops import Buffer, Map, Program
from fluxshard.codegen.common.islands.rules.values import VALUE_RULES
from fluxshard.codegen.common.islands.rules.views import VIEW_RULES, Result
from fluxshard.codegen.common.islands.simplify import simplified
from fluxshard.codegen.common.islands.tensors import View
from fluxshard.ir.params import Argument, Island, IslandStep, Ref
from fluxshard.ir.plan import LayerSpec, Plan

_RULES = {**VIEW_RULES, **VALUE_RULES}


def lower_island(plan: Plan, layer: LayerSpec, in_torch: Mapping[str, str]) -> Program:
    """Dense ops that compute an island.

    Args:
      plan: the network.
      layer: an island of it.
      in_torch: values off the grids that torch computes, with the island that does.

    Raises:
      Unsupported: it has an op, or arguments, without a rule.
    """
    assert isinstance(layer.params, Island)
    builder = Builder()
    results: dict[str, Result | None] = {}
    for name in layer.inputs:
        value = plan.value(name)
        if name in in_torch:
            raise Unsupported(f"reads {name}, which {in_torch[name]} computes in torch")
        if value.grid is None:
            size = View(0, value.shape, ()).size
            results[name] = builder.buffer(Buffer("value", size, name), value.shape)
        else:
            results[name] = builder.load(name, value.shape)
    specs = {spec.name: spec for spec in plan.weights}
    for role, name in layer.weights:
        spec = specs[name]
        if spec.dtype != "float32":
            results[role] = None
            continue
        results[role] = builder.buffer(Buffer("weight", View(0, spec.shape, ()).size, name), spec.shape)
    for step in layer.params.steps:
        results[step.name] = _step(builder, step, results)
    outputs = []
    for name in layer.outputs:
        view, value = _read(results, name), plan.value(name)
        if view.shape != value.shape:
            raise Unsupported(f"{name} has another shape than in the plan")
        shape = value.shape if value.grid is None else (value.shape[1], value.shape[2] * value.shape[3])
        to = builder.new(value.shape)
        builder.ops.append(Map(to, (view,), "{0}"))
        whole = to.reshaped(shape)
        assert whole is not None
        outputs.append((name, whole))
    return simplified(Program(tuple(builder.buffers), tuple(builder.ops), tuple(outputs)))


def _step(builder: Builder, step: IslandStep, results: Mapping[str, Result | None]) -> Result:
    op = step.target.removeprefix("aten.").partition(".")[0]
    rule = _RULES.get(op)
    if rule is None or not (step.target.startswith("aten.") or step.target == "getitem"):
        raise Unsupported(f"{step.target}: no generated code for it")
    try:
        args = [_value(results, argument) for argument in step.args]
        return rule(builder, *args, **{key: _value(results, argument) for key, argument in step.kwargs})
    except Unsupported as error:
        raise Unsupported(f"{step.target}: {error}") from error
    except (AssertionError, AttributeError, IndexError, TypeError, ValueError) as error:
        # overloads differ in their arguments: what a rule does not take is left to torch
        raise Unsupported(f"{step.target}: no generated code for these arguments") from error


def _value(results: Mapping[str, Result | None], argument: Argument) -> object:
    if isinstance(argument, Ref):
        found = results[argument.name]
        if found is None:
            raise Unsupported(f"{argument.name} does not hold float32 numbers")
        return found
    if isinstance(argument, tuple):
        return tuple(_value(results, item) for item in argument)
    return argument


def _read(results: Mapping[str, Result | None], name: str) -> View:
    found = results[name]
    if not isinstance(found, View):
        raise Unsupported(f"{name} is no tensor of float32 numbers")
    return found
