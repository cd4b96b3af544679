"""The yardstick: the original network in torch, as fast as torch runs it eagerly on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fluxshard.errors import OptionError
from fluxshard.models.tasks.result import Read
from fluxshard.pipeline.stream_loop import Detect

Net = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseBaseline:
    """The original network beside a stream, on the same frames.

    Attributes:
      run: takes `(1, 3, H, W)` float32 on the device; returns what the network returns.
      detect: decodes its outputs, in pixels of the image; None where the head is not known.
      read: says what they mean instead, see `StreamLoop`; None leaves them as they are.
      pairs: the outputs have the shapes of the session's, and are compared with them; False beside a larger canvas.
    """

    run: Net
    detect: Detect | None = None
    read: Read | None = None
    pairs: bool = True


def dense_network(net: Any, shape: tuple[int, int], *, device: str = "cpu", dtype: str = "float32") -> Net:
    """Returns a function that runs a copy of the network in channels-last layout under inference mode.

    Args:
      net: the network; it is left as it is.
      shape: (H, W) of its input; one black frame is run, which also warms the copy up.
      device, dtype: of the copy. The function takes float32 images on the device, and returns what the copy returns.

    Raises:
      OptionError: the network does not run in this dtype.
    """
    from torch.export import ExportedProgram

    from fluxshard.passes.capture.device_copy import moved  # brings all passes, which runs without it need not wait for

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
        raise OptionError(f"the original network does not run in {dtype} on {device} ({seen})") from error
    return run
