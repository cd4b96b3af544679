"""Checks of flags before anything slow begins."""

from __future__ import annotations

import re

from fluxshard.errors import OptionError

ON_CPU, ON_CUDA = ("auto", "cpp", "reference"), ("auto", "cuda", "emulated")


def check_share(name: str, value: float) -> None:
    """Raises OptionError unless the value lies in 0..1."""
    if not 0 <= value <= 1:
        raise OptionError(f"--{name} (={value}) must lie between 0 and 1")


def check_device(device: str, dtype: str, backend: str) -> None:
    """Raises OptionError unless --device, --dtype and --backend go together."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise OptionError(f"--device (={device!r}) must be cpu, cuda or cuda:N")
    allowed = ON_CPU if device == "cpu" else ON_CUDA
    if backend not in allowed:
        where = "cuda" if backend in ON_CUDA else "cpu"
        raise OptionError(
            f"--backend {backend} is for --device {where}; with --device {device} use one of {', '.join(allowed)}"
        )
    if device == "cpu" and dtype == "float16":
        raise OptionError("--dtype float16 is for --device cuda; --device cpu stores float32 or bfloat16")
