"""What users see of a GPU's failures."""

from __future__ import annotations

import pytest
import torch

from fluxshard.cli.support.messages import device_errors
from fluxshard.errors import DeviceError, DeviceMemoryError


def test_what_torch_says_of_a_gpu_becomes_an_error_of_ours():
    with pytest.raises(DeviceMemoryError, match="Tried to allocate 2 GiB: use a smaller --size"), device_errors():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
    with (
        pytest.raises(DeviceError, match=r"the GPU stopped working .*illegal memory access.*: start again"),
        device_errors(),
    ):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore")
    with pytest.raises(KeyError), device_errors():
        raise KeyError("another")
