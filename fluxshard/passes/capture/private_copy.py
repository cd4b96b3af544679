"""Copies a model for capture: other threads may use the model itself meanwhile."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from fluxshard.passes.capture.device_copy import tensors_of

_OTHER_FLOATS = (torch.float16, torch.bfloat16, torch.float64)


def private_copy(net: nn.Module | ExportedProgram) -> nn.Module:
    """A model in evaluation mode that shares the tensors of another, and nothing that changes while it runs.

    Where parameters are float16, bfloat16 or float64, all tensors of these types are converted to float32: images are
    float32, and so is what is computed.

    Args:
      net: the model; only read.
    """
    module = net.module() if isinstance(net, ExportedProgram) else net
    converts = any(parameter.dtype in _OTHER_FLOATS for parameter in module.parameters())
    memo: dict[int, Any] = {id(tensor): _float32(tensor) if converts else tensor for tensor in tensors_of(module)}
    try:
        result: nn.Module = copy.deepcopy(module, dict(memo))
    except Exception:  # modules may hold anything: locks, open files, handles of other libraries
        result = _shallow(module, memo)
    for part in result.modules():
        part.training = False
    return result


def _float32(tensor: Tensor) -> Tensor:
    if tensor.dtype not in _OTHER_FLOATS:
        return tensor
    converted = tensor.detach().float()
    return nn.Parameter(converted, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else converted


def _shallow(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """The tree of modules anew; attributes that are no tensors, modules or plain containers are shared."""
    if id(module) in memo:
        return memo[id(module)]  # type: ignore[no-any-return]
    result = module.__class__.__new__(module.__class__)
    memo[id(module)] = result
    for name, value in vars(module).items():
        own: Any = memo.get(id(value), value)
        if name == "_modules":
            own = {key: part if part is None else _shallow(part, memo) for key, part in value.items()}
        elif name in ("_parameters", "_buffers"):
            own = {key: memo.get(id(tensor), tensor) for key, tensor in value.items()}
        elif type(value) in (list, dict, set):
            own = copy.copy(value)
        result.__dict__[name] = own
    return result
