"""The yardstick: the original network in torch, as fast as torch runs it eagerly on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from fluxshard.errors import OptionError
from fluxshard.passes.capture.device_copy import moved


def dense_runner(
    net: Any, shape: tuple[int, int], *, device: str = "cpu", dtype: str = "float32"
) -> Callable[[Any], Any]:
    """Returns a function that runs a copy of the network in channels-last layout under inference mode.

    Args:
      net: the network; it is left as it is.
      shape: (H, W) of its input; one black frame is run, which also warms the copy up.
      device, dtype: of the copy. The function takes float32 images on the device, and returns what the copy returns.

    Raises:
      OptionError: the network does not run in this dtype.
    """
    import torch
    from torch.export import ExportedProgram

    number = getattr(torch, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of copying its own classes
        module: Any = moved(net, device)
    if not isinstance(net, ExportedProgram):  # which has one mode, and refuses to be asked for another
        module.eval()
    module = module.to(dtype=number, memory_format=torch.channels_last)

    def run(image: Any) -> Any:
        with torch.inference_mode():
            return module(image.to(dtype=number, memory_format=torch.channels_last))

    try:
        run(torch.zeros(1, 3, *shape, device=device))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        seen = str(error).strip().partition("\n")[0]
        raise OptionError(
            f"--compare dense: the original network does not run in {dtype} on {device} ({seen}); "
            "use --dtype float32 or --compare none"
        ) from error
    return run
