"""Runs a Plan densely in eager torch: the result that every backend must agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import cast

import torch
from torch import Tensor

from fluxshard.ir.params import Conv2d, ConvTranspose2d, Island
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ops.reference import REFERENCE, run_island


@torch.no_grad()
def interpret(plan: Plan, weights: Mapping[str, Tensor], image: Tensor) -> list[object]:
    """Evaluates every layer of a plan on every cell.

    Args:
      plan: the network.
      weights: constants of the plan by name.
      image: `(1, C, H, W)` float32, of the plan's size.

    Returns:
      leaves of the model's output, in the order of `plan.outputs`.
    """
    values: dict[str, Tensor] = {plan.input: image}
    for layer in plan.layers:
        inputs = [values[name] for name in layer.inputs]
        roles = {role: weights[name] for role, name in layer.weights}
        if isinstance(layer.params, Island):
            results = run_island(layer.params.steps, {**dict(zip(layer.inputs, inputs, strict=True)), **roles})
            values.update({name: cast(Tensor, results[name]) for name in layer.outputs})
        else:
            values[layer.output] = evaluate(layer, inputs, roles)
    return [leaf.literal if leaf.value is None else values[leaf.value] for leaf in plan.outputs]


@torch.no_grad()
def evaluate(layer: LayerSpec, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """Evaluates one layer on every cell; `run_island` evaluates islands.

    Args:
      layer: the layer; not an island.
      inputs: values of its inputs, in order.
      weights: its constants by role.
    """
    tensors, roles = list(inputs), dict(weights)
    if isinstance(layer.params, (Conv2d, ConvTranspose2d)) and len(tensors) == 2:
        roles["residual"] = tensors.pop()
    if "operand" in roles:
        tensors.append(roles.pop("operand"))
    attributes = {f.name: getattr(layer.params, f.name) for f in fields(layer.params)}
    return REFERENCE[layer.op](*tensors, **roles, **attributes)
