"""Recognises activations that a model writes as sums and products."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import fx

from fluxshard.options import CompileOptions
from fluxshard.passes.support.graph_edit import constant, insert, overload, swap

aten = torch.ops.aten


def recognise_activations(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    """Replaces a formula by the activation that it computes: silu, hardswish, hardsigmoid, mish, gelu.

    Given:
        s (1, 16, 40, 40) = sigmoid(x)                          # x (1, 16, 40, 40)
        y (1, 16, 40, 40) = mul(x, s)
        a (1, 16, 40, 40) = add(y, 3)
        r (1, 16, 40, 40) = relu6(a)
        p (1, 16, 40, 40) = mul(y, r)
        z (1, 16, 40, 40) = div(p, 6)
    Result:
        y (1, 16, 40, 40) = silu(x)
        z (1, 16, 40, 40) = hardswish(y)

    Leaves alone: formulas whose factors have different inputs, such as `x * sigmoid(w)`, or other constants.
    """
    del options
    for node in list(graph_module.graph.nodes):
        for rule in (_gated, _hardsigmoid, _hardswish, _gelu):
            found = rule(graph_module, node)
            if found is not None:
                target, source = found
                swap(node, insert(node, target, (source,), like=node))
                break
    graph_module.graph.eliminate_dead_code()
    return graph_module


Found = tuple[Callable[..., object], fx.Node]

_GATES = {"aten.sigmoid.default": aten.silu.default, "aten.hardsigmoid.default": aten.hardswish.default}


def _operands(node: object, *names: str) -> tuple[object, object] | None:
    if isinstance(node, fx.Node) and overload(node) in names:
        return node.args[0], node.args[1]
    return None


def _is_call(node: object, name: str, *args: object) -> bool:
    return isinstance(node, fx.Node) and overload(node) == name and node.args[: len(args)] == args


def _gated(root: fx.GraphModule, node: fx.Node) -> Found | None:
    """`x * sigmoid(x)`, `x * hardsigmoid(x)`, `x * tanh(softplus(x))`."""
    del root
    for x, gate in _both_orders(_operands(node, "aten.mul.Tensor")):
        if not isinstance(x, fx.Node) or not isinstance(gate, fx.Node):
            continue
        if overload(gate) in _GATES and gate.args[0] is x:
            return _GATES[overload(gate)], x
        if _is_call(gate, "aten.tanh.default") and _is_call(gate.args[0], "aten.softplus.default", x):
            return aten.mish.default, x
    return None


def _hardsigmoid(root: fx.GraphModule, node: fx.Node) -> Found | None:
    """`relu6(x + 3) / 6`."""
    top = _scaled(root, node, 1 / 6)
    return None if (x := _relu6_of_shifted(root, top)) is None else (aten.hardsigmoid.default, x)


def _hardswish(root: fx.GraphModule, node: fx.Node) -> Found | None:
    """`x * relu6(x + 3) / 6`, the division on any factor or on the product."""
    product = _scaled(root, node, 1 / 6)
    for x, gate in _both_orders(_operands(product, "aten.mul.Tensor")):
        if isinstance(x, fx.Node) and _relu6_of_shifted(root, gate) is x:
            return aten.hardswish.default, x
    for scaled, gate in _both_orders(_operands(node, "aten.mul.Tensor")):
        whole = _scaled(root, scaled, 1 / 6)
        if isinstance(whole, fx.Node) and _relu6_of_shifted(root, gate) is whole:
            return aten.hardswish.default, whole
    return None


def _gelu(root: fx.GraphModule, node: fx.Node) -> Found | None:
    """`x * 0.5 * (1 + erf(x / sqrt(2)))`, the 0.5 on any factor or on the product."""
    for left, right in _both_orders(_operands(node, "aten.mul.Tensor")):
        half = _scaled(root, left, 0.5)
        if isinstance(half, fx.Node) and _one_plus_erf(root, right) is half:
            return aten.gelu.default, half
        whole = _scaled(root, right, 0.5)
        if whole is not None and isinstance(left, fx.Node) and _one_plus_erf(root, whole) is left:
            return aten.gelu.default, left
    product = _scaled(root, node, 0.5)
    for x, gate in _both_orders(_operands(product, "aten.mul.Tensor")):
        if isinstance(x, fx.Node) and _one_plus_erf(root, gate) is x:
            return aten.gelu.default, x
    return None


def _both_orders(pair: tuple[object, object] | None) -> list[tuple[object, object]]:
    return [] if pair is None else [pair, (pair[1], pair[0])]


def _number(root: fx.GraphModule, argument: object) -> float | None:
    if isinstance(argument, (int, float)):
        return float(argument)
    value = constant(root, argument)
    return float(value) if value is not None and value.numel() == 1 else None


def _scaled(root: fx.GraphModule, node: object, factor: float) -> object | None:
    """`x` where the node is `x * factor` or `x / (1 / factor)`; otherwise None."""
    for x, by in _both_orders(_operands(node, "aten.mul.Tensor")):
        number = _number(root, by)
        if number is not None and math.isclose(number, factor, rel_tol=1e-6):
            return x
    operands = _operands(node, "aten.div.Tensor")
    number = None if operands is None else _number(root, operands[1])
    if operands is not None and number is not None and number != 0 and math.isclose(1 / number, factor, rel_tol=1e-6):
        return operands[0]
    return None


def _shifted(root: fx.GraphModule, node: object, by: float) -> fx.Node | None:
    for x, amount in _both_orders(_operands(node, "aten.add.Tensor")):
        if isinstance(x, fx.Node) and _number(root, amount) == by:
            return x
    return None


def _relu6_of_shifted(root: fx.GraphModule, node: object) -> fx.Node | None:
    return (
        _shifted(root, node.args[0], 3.0)
        if isinstance(node, fx.Node) and overload(node) == "aten.relu6.default"
        else None
    )


def _one_plus_erf(root: fx.GraphModule, node: object) -> fx.Node | None:
    erf = _shifted(root, node, 1.0)
    if erf is None or overload(erf) != "aten.erf.default":
        return None
    x = _scaled(root, erf.args[0], 1 / math.sqrt(2))
    return x if isinstance(x, fx.Node) else None
