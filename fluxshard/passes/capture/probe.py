"""Runs a model before it is captured: what it returns, and whether it remembers earlier frames."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

_SLOW_S = 1.0  # of one frame: above, frames are repeated only where something on the model has changed
_TOLERANCE = 1e-5  # of the largest number: rounding may differ from run to run, memory does not look like it


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame that a model has run.

    Attributes:
      image: `(1, C, H, W)` float32, random in 0..1.
      leaves: of what the model returned.
      net: the model.
    """

    image: Tensor
    leaves: list[object]
    net: nn.Module

    @torch.no_grad()
    def in_float64(self) -> list[object]:
        """The leaves without the rounding of float32; as they are where the model takes no other type."""
        try:
            return pytree.tree_leaves(copy.deepcopy(self.net).double()(self.image.double()))
        except Exception:  # the model's own code, which may raise anything
            return self.leaves


@dataclass(frozen=True, slots=True)
class Probed:
    """What running a model told.

    Attributes:
      sample: the first frame.
      remembers: what differs when a frame is repeated after another one: a path on the model, or "" where it is
        somewhere else; None: nothing differs.
    """

    sample: Sample
    remembers: str | None


@torch.no_grad()
def probe(net: nn.Module, shape: tuple[int, ...]) -> Probed:
    """Runs a frame, another one, and the first again.

    Args:
      net: a model in evaluation mode; what it keeps on itself changes.
      shape: of the image.

    Raises:
      Exception: whatever the model raises.
    """
    generator = torch.Generator().manual_seed(0)
    image, other = (torch.rand(shape, generator=generator) for _ in range(2))
    before = dict(_state(net))
    started = time.perf_counter()
    leaves = _run(net, image)
    seconds = time.perf_counter() - started
    sample = Sample(image, leaves, net)
    once = dict(_state(net))
    if seconds > _SLOW_S and not _changed(before, once):
        return Probed(sample, None)
    _run(net, other)
    twice = dict(_state(net))
    if _same(leaves, _run(net, image)) or _is_random(net, image):
        return Probed(sample, None)
    return Probed(sample, next(iter(_changed(once, twice) or _changed(before, once)), ""))


def _run(net: nn.Module, image: Tensor) -> list[object]:
    leaves = pytree.tree_leaves(net(image.clone()))
    return [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def _is_random(net: nn.Module, image: Tensor) -> bool:
    """Whether a frame differs from itself only as random numbers do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one = _run(net, image)
        torch.manual_seed(0)
        return _same(one, _run(net, image)) and not _same(one, _run(net, image))


def _same(one: list[object], two: list[object]) -> bool:
    return len(one) == len(two) and all(_is_same(a, b) for a, b in zip(one, two, strict=True))


def _is_same(one: object, two: object) -> bool:
    if not isinstance(one, Tensor) or not isinstance(two, Tensor):
        return type(one) is type(two)
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if not one.is_floating_point():
        return bool(torch.equal(one, two))
    scale = float(one.detach().abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
    return torch.allclose(one, two, rtol=0, atol=_TOLERANCE * scale, equal_nan=True)


def _state(net: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a model keeps on itself, by path; contents of containers as text."""
    for path, part in net.named_modules():
        for name, value in (*vars(part).items(), *part._buffers.items()):
            if name.startswith("_") and name in _MACHINERY:
                continue
            where = f"{path}.{name}" if path else name
            if isinstance(value, Tensor):
                yield where, (id(value), _version(value))
            elif isinstance(value, (list, tuple, dict, set)):
                yield where, (id(value), len(value))
            else:
                yield where, value if isinstance(value, (bool, int, float, str, type(None))) else id(value)


_MACHINERY = frozenset(vars(nn.Module()))


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [path for path, value in after.items() if path not in before or before[path] != value]


def _version(tensor: Tensor) -> int:
    """What changes when a tensor is written to; tensors that were made in inference mode count no writes."""
    return hash(tensor.detach().cpu().numpy().tobytes()) if tensor.is_inference() else tensor._version
