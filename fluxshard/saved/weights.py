"""Weights as bytes, and back: the same numbers in the same order in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from fluxshard.errors import OptionError
from fluxshard.saved.saved_model import ITEM_BYTES, SavedArray


def array_of(name: str, tensor: Tensor) -> SavedArray:
    """The bytes of a weight.

    Raises:
      OptionError: it has a dtype that a file cannot hold.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in ITEM_BYTES:
        raise OptionError(f"weight {name} is {dtype}, which a file cannot hold: {', '.join(ITEM_BYTES)} are allowed")
    tensor = tensor.detach().cpu()
    order = sorted(range(tensor.dim()), key=lambda axis: (-tensor.stride()[axis], axis))
    if not tensor.permute(order).is_contiguous():  # it repeats itself, or has gaps
        order = list(range(tensor.dim()))
    data = tensor.permute(order).contiguous().reshape(-1).view(torch.uint8).numpy()
    return SavedArray(dtype=dtype, shape=tuple(tensor.shape), order=tuple(order), data=data)


def tensor_of(array: SavedArray) -> Tensor:
    """The weight; it shares the memory of the bytes."""
    stored = [array.shape[axis] for axis in array.order]
    dtype = getattr(torch, array.dtype)
    # numpy gives an empty array strides that torch does not view as another dtype
    flat = torch.from_numpy(array.data).view(dtype) if array.data.nbytes else torch.empty(0, dtype=dtype)
    return flat.reshape(stored).permute([array.order.index(axis) for axis in range(len(stored))])
