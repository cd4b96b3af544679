"""What an endpoint computes with, as the other one is told."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import fluxshard
from fluxshard.api import CompiledModel
from fluxshard.codegen.common.toolchain import processor_target
from fluxshard.errors import ToolchainError
from fluxshard.ir.kernel import cpu_type
from fluxshard.pipeline.device import cpu_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """What computes; two endpoints with equal values compute the same bits.

    Attributes:
      backend, dtype, isa: see `CompileOptions`; the instruction set is the one that is in use.
      device: name of the processor or GPU.
      version: of FluxShard and torch.
    """

    backend: str
    dtype: str
    isa: str
    device: str
    version: str

    def same_bits(self, other: Compute) -> bool:
        """Whether results are equal bit for bit; the device's name says nothing about that."""
        mine, theirs = (
            (one.backend, one.dtype, one.isa, one.version.partition(" ")[0]) for one in (self, other)
        )  # fmt: skip
        return mine == theirs


def compute_of(model: CompiledModel) -> Compute:
    """What a compiled model runs on; it must be compiled for a size."""
    options, device = model.options, model.device
    isa = options.arch
    if model.backend in ("cpp", "reference"):
        try:
            target = processor_target(options.isa, cpu_type(model.dtype))
            isa = target.instructions if model.backend == "cpp" else "torch"
        except ToolchainError:
            isa = options.isa
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    version = f"{fluxshard.__version__} torch {torch.__version__}"
    return Compute(backend=model.backend, dtype=model.dtype, isa=isa, device=name, version=version)
