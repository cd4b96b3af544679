"""The matrix products of a plan on an architecture: their loops in machine code, blocks, and estimated time."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from fluxshard.codegen.cuda.compile import sass
from fluxshard.codegen.cuda.compile.cubin import Cubin
from fluxshard.codegen.cuda.estimate import RATES, estimate
from fluxshard.codegen.cuda.launches.kernels import Gemm, name_of
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.report import KernelReport

WORK = (1.0, 0.25, 0.05, 0.0)
_REGISTERS, _MOST_BLOCKS, _DRIVER_BYTES = 65536, 16, 1 << 10  # of a multiprocessor; the last of each block
_PLANNED = Order(planned=True, rfap="off", remap=True, takes_image=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One kernel.

    Attributes:
      name: of the entry function.
      launches: of a planned frame.
      instructions: per warp and 32 of the depth, of the loop of the tile and of that for few cells; empty without a
        disassembler.
      per_multiprocessor: blocks that one holds at a time.
      waves: at each share of `WORK`, of the launch with most cells; empty for an architecture without rates.
      us: at each share of `WORK`, of all launches, estimated; empty for an architecture without rates.
    """

    name: str
    launches: int
    instructions: tuple[float, ...]
    per_multiprocessor: int
    waves: tuple[int, ...]
    us: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ProductReport:
    """Products of a planned frame; `str()` gives the table."""

    rows: tuple[Product, ...]
    note: str

    @property
    def us(self) -> tuple[float, ...]:
        """Estimated time of all of them at each share of `WORK`; empty for an architecture without rates."""
        return tuple(map(sum, zip(*(row.us for row in self.rows), strict=True)))

    def __str__(self) -> str:
        shares = [f"{share:.0%}" for share in WORK]
        lines = [["matrix product", "launches", "instructions", "blocks/SM", "waves", *(f"us {one}" for one in shares)]]
        for row in self.rows:
            counted = " / ".join(f"{one:.0f}" for one in row.instructions) or "-"
            times = [f"{us:.1f}" for us in row.us] or ["-"] * len(WORK)
            waves = " ".join(map(str, row.waves)) or "-"
            lines.append([row.name, str(row.launches), counted, str(row.per_multiprocessor), waves, *times])
        lines.append(["all", str(sum(row.launches for row in self.rows)), "", "", "", *(f"{us:.0f}" for us in self.us)])
        widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(lines[0]))]
        text = [
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=False))]
            )
            for line in lines
        ]
        return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", self.note])


def product_report(report: KernelReport) -> ProductReport:
    """Products of the kernels of a report.

    Args:
      report: of a plan on an architecture, in the planned order.
    """
    describer, rates = Describer(report.plan, report.target), RATES.get(report.target.arch)
    cubins = {row.name: row.cubin for row in report.rows}
    tool = sass.find_nvdisasm()
    found: dict[str, list[tuple[Gemm, int, bool]]] = {}
    for step in describer.order(_PLANNED):
        if isinstance(step, Launch) and isinstance(step.kernel, Gemm) and name_of(step.kernel) in cubins:
            cells = report.plan.grid_of(report.plan.layer(step.layer).output).cells
            overlaps = not step.alone and int(report.target.arch[3:]) >= 90
            found.setdefault(name_of(step.kernel), []).append((step.kernel, cells, overlaps))
    rows = []
    for name, launches in found.items():
        kernel = launches[0][0]
        counted = {} if tool is None else _counted(kernel, cubins[name], tool)
        registers = max(cubins[name].resources.registers, 1) * kernel.threads
        shared = kernel.shared_bytes + cubins[name].resources.shared_bytes + _DRIVER_BYTES
        fit = min(_REGISTERS // registers, (report.target.shared_bytes + _DRIVER_BYTES) // shared, _MOST_BLOCKS)
        us, waves = [], []
        if rates is not None and kernel.math != "ffma":
            for share in WORK:
                made = [
                    estimate(
                        kernel, round(share * cells), rates, per_multiprocessor=max(fit, 1), overlaps=overlaps,
                        instructions=counted,
                    )
                    for kernel, cells, overlaps in launches
                ]  # fmt: skip
                us.append(sum(one.us for one in made))
                waves.append(max(one.waves for one in made))
        rows.append(
            Product(
                name=name, launches=len(launches), instructions=tuple(counted.values()), per_multiprocessor=fit,
                waves=tuple(waves), us=tuple(us),
            )
        )  # fmt: skip
    return ProductReport(tuple(rows), _note(tool, rates is not None))


def _counted(kernel: Gemm, cubin: Cubin, tool: str) -> dict[tuple[int, int], float]:
    """Instructions of the loops by tile."""
    if kernel.math == "ffma":
        return {}
    try:
        loops = sass.product_loops(sass.disassemble(cubin.path, tool))
    except (OSError, subprocess.SubprocessError):
        return {}
    depth = 16 if kernel.math == "m16n8k16" else 8
    counts = {(t.bm, t.bn): sass.per_depth(loops, t, kernel.tile.bk, depth) for t in kernel.tile.shapes}
    return {tile: count for tile, count in counts.items() if count is not None}


def _note(tool: str | None, rated: bool) -> str:
    lines = ["instructions: per warp and 32 of the depth, of the tile and of that for few cells, in a planned frame."]
    if tool is None:
        lines.append(f"They are not counted without nvdisasm: {sass.TOOL_ADVICE}.")
    lines.append(
        "us: at these shares of all cells, by a model; not measured."
        if rated
        else "There is no model of time for this architecture."
    )
    return "\n".join(lines)
