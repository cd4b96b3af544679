"""Plans as a torch module: the dense network, where the original is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fluxshard.errors import ShapeError
from fluxshard.ir.plan import Plan
from fluxshard.ops.interpret import interpret


class PlanNetwork(nn.Module):
    """Takes `(1, C, H, W)` float32 of the size of a plan; returns what the network that it was made from returns.

    Args:
      sizes: plans of one network and their weights by name.
    """

    def __init__(self, sizes: Sequence[tuple[Plan, Mapping[str, Tensor]]]) -> None:
        super().__init__()
        self._plans = {plan.image_size: (index, plan, tuple(weights)) for index, (plan, weights) in enumerate(sizes)}
        for index, (_, weights) in enumerate(sizes):
            for number, tensor in enumerate(weights.values()):
                self.register_buffer(f"weight_{index}_{number}", tensor)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Any:
        """Evaluates every layer on every cell.

        Raises:
          ShapeError: there is no plan for this size.
        """
        size = tuple(image.shape[2:])
        if size not in self._plans:
            known = ", ".join(f"{height}x{width}" for height, width in self._plans)
            raise ShapeError(f"image is {'x'.join(map(str, size))}; the network's plans are for {known}")
        index, plan, names = self._plans[size]
        weights = {name: self.get_buffer(f"weight_{index}_{number}") for number, name in enumerate(names)}
        return pytree.tree_unflatten(interpret(plan, weights, image), pytree.treespec_loads(plan.output_tree))
