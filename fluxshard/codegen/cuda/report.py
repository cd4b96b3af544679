"""Resources of a plan's kernels on an architecture, as ptxas reports them: compiled with or without a GPU."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fluxshard.codegen.cuda.compile.cubin import Cubin, Job, compile_many
from fluxshard.codegen.cuda.compile.render import render_kernel
from fluxshard.codegen.cuda.launches.kernels import name_of
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.program import DEFAULT_ORDERS, kernels_of
from fluxshard.errors import OptionError
from fluxshard.ir.kernel import CUDA_ARCHES, CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.options import DType


def parse_arch(target: str) -> str:
    """The architecture in "cuda:sm_90".

    Raises:
      OptionError: anything else.
    """
    match = re.fullmatch(r"cuda:(sm_\d+)", str(target))
    if match is None or match.group(1) not in CUDA_ARCHES:
        allowed = ", ".join(f"cuda:{arch}" for arch in CUDA_ARCHES)
        raise OptionError(f"target (={target!r}) must be one of {allowed}")
    return match.group(1)


_HEADER = ("kernel", "threads", "registers", "shared B", "spills B", "cubin kB", "layers")


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One kernel.

    Attributes:
      name: of the entry function.
      cubin: what it was compiled to, with its resources.
      threads: of a block.
      dynamic_bytes: dynamic shared memory.
      layers: that launch it; empty for the frame's own.
    """

    name: str
    cubin: Cubin
    threads: int
    dynamic_bytes: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KernelReport:
    """Kernels of a plan on an architecture; `str()` gives the table.

    Attributes:
      plan, target: of the report.
      rows: one per kernel, in order of first use.
    """

    plan: Plan
    target: CudaTarget
    rows: tuple[KernelRow, ...]

    @property
    def spilled(self) -> tuple[KernelRow, ...]:
        """Kernels whose registers did not suffice."""
        return tuple(row for row in self.rows if row.cubin.resources.spills)

    def __repr__(self) -> str:
        return f"KernelReport({self._foot()}); print it"

    def __str__(self) -> str:
        lines = [_HEADER, *(self._cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        text = [
            "  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 6)), line[6]]).rstrip()
            for line in lines
        ]
        return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", self._foot()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(text)}</th>" for text in _HEADER)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in self._cells(row))}</tr>" for row in self.rows
        )
        return f"<p>{html.escape(self._foot())}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    @staticmethod
    def _cells(row: KernelRow) -> tuple[str, ...]:
        r = row.cubin.resources
        layers = ", ".join(row.layers[:3]) + (f" and {len(row.layers) - 3} more" if len(row.layers) > 3 else "")
        return (
            row.name, str(row.threads), str(r.registers), str(r.shared_bytes + row.dynamic_bytes),
            str(r.spill_store_bytes + r.spill_load_bytes), f"{len(row.cubin.code) / 1e3:.0f}", layers,
        )  # fmt: skip

    def _foot(self) -> str:
        return (
            f"{self.plan.name} for {self.target.arch}, {self.target.dtype} ({self.target.math}): "
            f"{len(self.rows)} kernels, {len(self.spilled)} of them spill"
        )


def kernel_report(plan: Plan, arch: str, dtype: DType, orders: Sequence[Order] = DEFAULT_ORDERS) -> KernelReport:
    """Compiles every kernel of a plan, or finds it in the cache.

    Args:
      plan: the network.
      arch: key of `CUDA_ARCHES`.
      dtype: storage type of features and weights.
      orders: of launches whose kernels are compiled.

    Raises:
      ToolchainError: no NVRTC, or one that does not know the architecture.
      CompileError: a kernel is refused.
    """
    target = CudaTarget(arch=arch, dtype=dtype)
    describer = Describer(plan, target)
    needed = kernels_of(describer, *orders)
    users: dict[str, dict[str, None]] = {}
    for order in orders:
        for step in describer.order(order):
            if isinstance(step, Launch):
                users.setdefault(name_of(step.kernel), {}).update({step.layer: None} if step.layer else {})
    jobs = [
        Job(name=name, text=render_kernel(kernel, args_bytes), arch=arch)
        for name, (kernel, args_bytes) in needed.items()
    ]
    cubins = dict(zip(needed, compile_many(jobs), strict=True))
    rows = [
        KernelRow(name, cubins[name], kernel.threads, kernel.shared_bytes, tuple(users[name]))
        for name, (kernel, _) in needed.items()
    ]
    return KernelReport(plan, target, tuple(rows))
