"""Copies a model to another device."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram


def tensors_of(net: nn.Module) -> list[Tensor]:
    """Parameters, buffers, and tensors that modules keep as plain attributes."""
    attributes = (value for part in net.modules() for value in vars(part).values())
    return [*net.parameters(), *net.buffers(), *(value for value in attributes if isinstance(value, Tensor))]


def moved(net: nn.Module | ExportedProgram, device: torch.device | str) -> nn.Module:
    """A copy of a model with all its tensors on a device; the model itself is only read.

    Devices among the arguments of captured graphs are replaced by the new one.

    Raises:
      Exception: whatever `copy.deepcopy` of a module raises.
    """
    module = net.module() if isinstance(net, ExportedProgram) else net
    # tensors are moved while the rest is copied: the old device never holds a second model
    result: nn.Module = copy.deepcopy(module, {id(tensor): _moved(tensor, device) for tensor in tensors_of(module)})
    for part in result.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                node.args = tuple(_renamed(argument, device) for argument in node.args)
                node.kwargs = {name: _renamed(argument, device) for name, argument in node.kwargs.items()}
            part.recompile()
    return result


def _moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    there = tensor.detach().to(device, copy=True)
    return nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there


def _renamed(argument: Any, device: torch.device | str) -> Any:
    return torch.device(device) if isinstance(argument, torch.device) else argument
