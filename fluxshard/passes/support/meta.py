"""Typed access to the annotations of a node, `node.meta["fluxshard"]`, and to its shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, fx

from fluxshard.geometry import Grid, ReceptiveField, Window
from fluxshard.ir.params import Params

_KEY = "fluxshard"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """Annotations of a node, written by analysis passes and read by those after them.

    Attributes:
      params: op and parameters of the layer that the node becomes; None where it runs dense.
      grid: lattice of cells of the node's value; None for values without cells.
      windows: (y, x) windows from its first input; None where it has none.
      fields: (y, x) receptive fields in image pixels; None where it has none.
      mode: how it runs; None before `mark_sparse`.
      reason: why it runs dense; empty otherwise.
      copied: of the image: its views read a copy of it.
    """

    params: Params | None = None
    grid: Grid | None = None
    windows: tuple[Window, Window] | None = None
    fields: tuple[ReceptiveField, ReceptiveField] | None = None
    mode: Literal["sparse", "view", "dense"] | None = None
    reason: str = ""
    copied: bool = False


def info(node: fx.Node) -> NodeInfo:
    """Annotations of a node; the defaults where none were written."""
    found = node.meta.get(_KEY)
    return found if isinstance(found, NodeInfo) else NodeInfo()


def annotate(node: fx.Node, **changes: Any) -> None:
    """Replaces some annotations of a node."""
    node.meta[_KEY] = replace(info(node), **changes)


def forget(node: fx.Node) -> None:
    """Removes the annotations of a node."""
    node.meta.pop(_KEY, None)


def shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of the node's tensor; `()` for results that are not tensors."""
    value = node.meta.get("val")
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()


def is_tensor(node: fx.Node) -> bool:
    """True where the node yields one tensor."""
    return isinstance(node.meta.get("val"), Tensor)


def is_map(node: fx.Node) -> bool:
    """True for a feature map: one float32 tensor `(1, C, H, W)`."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype == torch.float32 and value.dim() == 4 and value.shape[0] == 1


def take(node: fx.Node, other: fx.Node) -> None:
    """Gives a node the annotations of the node that it replaces."""
    node.meta[_KEY] = info(other)
