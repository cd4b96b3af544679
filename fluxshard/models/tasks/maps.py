"""Which of a network's outputs describe the image, place by place."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def maps_among(outputs: Any, size: tuple[int, int]) -> list[Tensor]:
    """The maps among outputs, in the order of their structure.

    A map is a tensor `(1, C, h, w)`, `(C, h, w)` or `(h, w)` whose last two sides are the image's over one whole
    stride, up to one cell. Vectors, tokens and complex numbers give no position and are left out.

    Args:
      outputs: of any structure.
      size: (H, W) in pixels of what they describe.
    """
    tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return [tensor for tensor in tensors if _is_map(tensor, size)]


def shapes_of(outputs: Any) -> str:
    """Shapes of the tensors among outputs, for messages."""
    shapes = [str(tuple(leaf.shape)) for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    more = f" and {len(shapes) - 4} more" if len(shapes) > 4 else ""
    return (", ".join(shapes[:4]) or "no tensors") + more


def _is_map(tensor: Tensor, size: tuple[int, int]) -> bool:
    if not 2 <= tensor.ndim <= 4 or (tensor.ndim == 4 and tensor.shape[0] != 1) or tensor.is_complex():
        return False
    sides = tensor.shape[-2:]
    if min(sides) < 2:
        return False
    strides = {max(1, round(px / side)) for px, side in zip(size, sides, strict=True)}
    return any(all(abs(side * at - px) <= at for px, side in zip(size, sides, strict=True)) for at in strides)
