"""Images elsewhere as bytes here: a quarter of what is fetched otherwise."""

from __future__ import annotations

import torch
from torch import Tensor


def fetched_bytes(image: Tensor, low: float, scale: float) -> tuple[Tensor, bool]:
    """An image as `image_test.quantise` makes it, made where it is, and fetched into pinned memory.

    Waits for what is before it on the device's stream.

    Args:
      image: `(1, C, H, W)` float32.
      low, scale: 0..255 is `(value - low) * scale`; float32 numbers.

    Returns:
      uint8 `(C * H * W + 1)` on the host, the pixels and one byte more; whether all are finite.
    """
    finite = image.isfinite()
    scaled = image.sub(low).mul_(scale).round_().clamp_(0, 255)
    packed = torch.empty(image.numel() + 1, dtype=torch.uint8, device=image.device)
    packed[:-1] = torch.where(finite, scaled, 0.0).to(torch.uint8).reshape(-1)
    packed[-1] = finite.all()
    if image.device.type != "cuda":
        return packed.cpu(), bool(packed[-1])
    fetched = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=True)
    fetched.copy_(packed, non_blocking=True)
    torch.cuda.current_stream(image.device).synchronize()
    return fetched, bool(fetched[-1])
