"""NVIDIA's Python bindings, which are optional: imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fluxshard.errors import ToolchainError


def bindings(name: str) -> Any:
    """A module of `cuda.bindings`: "nvrtc" or "driver". Importing one neither finds nor loads NVIDIA's libraries.

    Raises:
      ToolchainError: cuda-bindings is not installed, or not for this Python.
    """
    try:
        return import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise ToolchainError(
            f"cuda.bindings.{name} cannot be imported ({error}); CUDA kernels need cuda-bindings: "
            "pip install 'fluxshard[cuda]'"
        ) from error
