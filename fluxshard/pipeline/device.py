"""The device of a run: images go there, results come back, and clocks wait for it."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

_HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class RunDevice:
    """A device of torch.

    Attributes:
      device: where images have to be.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def place(self, image: Any) -> Any:
        """The image on the device; returns when it is there."""
        placed = image.to(self.device)
        self._wait()
        return placed

    def timed(self, run: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
        """Result of a function, and the device's time for it in milliseconds."""
        start = time.perf_counter()
        outputs = run(*arguments)
        self._wait()
        return outputs, 1e3 * (time.perf_counter() - start)

    @staticmethod
    def fetch(outputs: Any) -> Any:
        """Outputs of any structure as tensors of the CPU, half precision as float32."""
        if _is_here(outputs):
            return outputs

        def fetched(tensor: torch.Tensor) -> torch.Tensor:
            there = tensor.cpu()
            return there.float() if there.dtype in _HALVES else there

        return pytree.tree_map_only(torch.Tensor, fetched, outputs)

    def describe(self) -> str | None:
        """The name of the GPU; None on the CPU."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None

    def uuid(self) -> str | None:
        """Identity of the GPU, whatever its number; None on the CPU."""
        return str(torch.cuda.get_device_properties(self.device).uuid) if self.device.type == "cuda" else None

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _is_here(outputs: Any) -> bool:
    """Whether nothing has to be done for outputs; where they are more than nested tuples, torch looks for itself."""
    if isinstance(outputs, torch.Tensor):
        return outputs.device.type == "cpu" and outputs.dtype not in _HALVES
    return type(outputs) is tuple and all(map(_is_here, outputs))


def full_float32(device: torch.device) -> None:
    """Keeps torch from TF32 on a GPU, for islands and the dense network: our own kernels do not use it."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def cpu_name() -> str:
    """The processor's name, where the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_facts(device: RunDevice) -> dict[str, Any]:
    """What a run's figures depend on besides its options, for summaries."""
    return {
        "cpu": cpu_name(),
        "gpu": device.describe(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }
