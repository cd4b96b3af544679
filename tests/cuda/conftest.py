"""What tests of the CUDA backend need beyond Python, and how they are skipped without it."""

from __future__ import annotations

from types import ModuleType

import pytest

from fluxshard.codegen.cuda.bindings import bindings
from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
from fluxshard.errors import ToolchainError


@pytest.fixture(scope="session")
def nvrtc() -> Nvrtc:
    """The compiler for GPUs, which needs no GPU."""
    try:
        return Nvrtc()
    except ToolchainError as error:
        pytest.skip(f"no NVRTC: {error}")


@pytest.fixture(scope="session")
def cuda_driver() -> ModuleType:
    """The bindings of the driver; there need not be one."""
    try:
        return bindings("driver")  # type: ignore[no-any-return]
    except ToolchainError as error:
        pytest.skip(str(error))
