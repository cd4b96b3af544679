"""Islands on a GPU: their steps name the device that the network was captured on, which is the processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from fluxshard.ir.params import Argument, IslandStep


def on_device(steps: Sequence[IslandStep], device: torch.device) -> tuple[IslandStep, ...]:
    """Steps that make and move their tensors on a device, whichever device they name.

    Args:
      steps: of an island; a device is a string ("cpu") in the place of an argument that the op declares as a device.
      device: where the island is to run.
    """
    return tuple(_on_device(step, str(device)) for step in steps)


def _on_device(step: IslandStep, device: str) -> IslandStep:
    if step.target == "getitem":
        return step
    namespace, op, overload = step.target.split(".")
    schema = getattr(getattr(getattr(torch.ops, namespace), op), overload)._schema
    devices = {number: argument.name for number, argument in enumerate(schema.arguments) if _is_device(argument.type)}

    def moved(value: Argument, is_device: bool) -> Argument:
        return device if is_device and isinstance(value, str) else value

    return replace(
        step,
        args=tuple(moved(value, number in devices) for number, value in enumerate(step.args)),
        kwargs=tuple((name, moved(value, name in devices.values())) for name, value in step.kwargs),
    )


def _is_device(kind: object) -> bool:
    return str(kind) in ("Device", "Optional[Device]")
