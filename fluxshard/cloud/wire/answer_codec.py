"""What a network returned, as bytes: the tensors of its outputs, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fluxshard.errors import WireError
from fluxshard.ir.plan import Plan

Leaf = Tensor | None | bool | int | float | str

_TYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.uint8,
    torch.int8, torch.bool,
)  # fmt: skip


class OutputsCodec:
    """Encodes outputs of one plan: a byte for the type of every tensor, then their values in the machine's order.

    Both sides know structure, shapes and literals from the plan.

    Args:
      plan: of the network.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shapes = [plan.value(leaf.value).shape for leaf in plan.outputs if leaf.value is not None]

    @property
    def max_bytes(self) -> int:
        """Most bytes that an answer can have."""
        return sum(1 + 8 * math.prod(shape) for shape in self._shapes)

    def encode(self, outputs: Any) -> bytes:
        """The bytes of what the model returned.

        Raises:
          WireError: outputs of another network.
        """
        leaves = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
        if [tuple(leaf.shape) for leaf in leaves] != self._shapes or any(leaf.dtype not in _TYPES for leaf in leaves):
            raise WireError("the outputs are not those of this plan")
        head = bytes(_TYPES.index(leaf.dtype) for leaf in leaves)
        return head + b"".join(
            leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for leaf in leaves
        )

    def decode(self, data: bytes) -> list[Leaf]:
        """Leaves in the order of `Plan.outputs`, as new tensors of the CPU.

        Raises:
          WireError: damaged, or of another network.
        """
        kinds = data[: len(self._shapes)]
        if len(kinds) != len(self._shapes) or any(kind >= len(_TYPES) for kind in kinds):
            raise WireError("the answer is damaged")
        types = [_TYPES[kind] for kind in kinds]
        sizes = [kind.itemsize * math.prod(shape) for kind, shape in zip(types, self._shapes, strict=True)]
        if len(data) != len(kinds) + sum(sizes):
            raise WireError("the answer has another size than this plan's outputs")
        return self._leaves(data, types, sizes)

    def _leaves(self, data: bytes, types: Sequence[torch.dtype], sizes: Sequence[int]) -> list[Leaf]:
        tensors: list[Tensor] = []
        start = len(types)
        for kind, shape, size in zip(types, self._shapes, sizes, strict=True):
            raw = np.frombuffer(data, np.uint8, size, start).copy()
            values = torch.from_numpy(raw)
            if kind == torch.bool and bool((values > 1).any()):
                raise WireError("the answer is damaged")
            tensors.append(values.view(kind).reshape(shape))
            start += size
        left = iter(tensors)
        return [next(left) if leaf.value is not None else leaf.literal for leaf in self._plan.outputs]
