"""The yardstick: the original network in torch, as fast as torch runs it eagerly on this machine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any


def dense_runner(net: Any) -> Callable[[Any], Any]:
    """Returns a function that runs a copy of the network in channels-last layout under inference mode."""
    import torch
    from torch.export import ExportedProgram

    module: Any = net.module() if isinstance(net, ExportedProgram) else copy.deepcopy(net).eval()
    module = module.to(memory_format=torch.channels_last)

    def run(image: Any) -> Any:
        with torch.inference_mode():
            return module(image.contiguous(memory_format=torch.channels_last))

    return run
