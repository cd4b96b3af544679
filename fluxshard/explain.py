"""The layers of a plan as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fluxshard.ir.plan import LayerSpec, Plan, ValueSpec
from fluxshard.ir.retention import read_at_once


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of an explanation.

    Attributes:
      name, op: of the layer.
      shape: of its first output.
      stride: input pixels per cell, `y x`; empty off the grids.
      mode: sparse, view or dense.
      receptive_field: size and offset in pixels, `y x`; empty where there is none.
      kernel: what executes it.
      macs: multiply-accumulates when everything is computed.
      cache_bytes: what a stream keeps for it: of planned reuse, in generated C++.
      note: why it is dense, or what it contains.
    """

    name: str
    op: str
    shape: str
    stride: str
    mode: str
    receptive_field: str
    kernel: str
    macs: int
    cache_bytes: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Where memory goes, in bytes.

    Attributes:
      planned: of a stream of planned reuse, what it keeps between frames, by what that is; the image test included.
      propagated: of a stream that compares values, in all, without the pixels that it keeps.
      scratch: what a frame borrows while it runs: as much for every frame that runs at a time, for all streams.
    """

    planned: Mapping[str, int]
    propagated: int
    scratch: int

    def __str__(self) -> str:
        mib = 1 << 20
        parts = [f"  {n / mib:7.2f} MiB  {name}" for name, n in self.planned.items()]
        return "\n".join(
            [
                f"a stream of planned reuse keeps {sum(self.planned.values()) / mib:.1f} MiB:", *parts,
                f"a stream that compares values keeps {self.propagated / mib:.1f} MiB, and pixels; a frame borrows "
                f"{self.scratch / mib:.1f} MiB while it runs",
            ]
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explanation:
    """A plan explained; `str()` gives the table.

    Attributes:
      plan: what is explained.
      backend: what executes it.
      notes: by layer, why it does not run as planned.
      itemsize: bytes of a stored number.
      tuned: by layer, the tile that was measured to be faster than the rule's.
      find_memory: says where memory goes; None where the backend does not.
    """

    plan: Plan
    backend: str
    notes: Mapping[str, str] = field(default_factory=dict)
    itemsize: int = 4
    tuned: Mapping[str, str] = field(default_factory=dict)
    find_memory: Callable[[], Memory] | None = None

    @property
    def memory(self) -> Memory | None:
        """Where memory goes; None where the backend does not say."""
        return None if self.find_memory is None else self.find_memory()

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row per layer, in order."""
        passing = None if self.find_memory is None else frozenset(read_at_once(self.plan))
        return tuple(self._row(layer, passing) for layer in self.plan.layers)

    def __str__(self) -> str:
        rows, memory = self.rows, self.memory
        header = (
            "layer",
            "op",
            "output",
            "stride",
            "mode",
            "field px",
            "offset px",
            "kernel",
            "MMAC",
            "cache kB",
            "why",
        )
        cells = [
            (
                row.name, row.op, row.shape, row.stride, row.mode,
                *(row.receptive_field.split("@") if row.receptive_field else ("", "")), row.kernel,
                f"{row.macs / 1e6:.2f}" if row.macs else "",
                f"{row.cache_bytes / 1e3:.0f}" if row.cache_bytes else "", row.note,
            )
            for row in rows
        ]  # fmt: skip
        widths = [max(len(line[i]) for line in [header, *cells]) for i in range(len(header) - 1)]
        lines = [
            "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
            for line in [header, *cells]
        ]
        height, width = self.plan.image_size
        macs = {mode: sum(row.macs for row in rows if row.mode == mode) for mode in ("sparse", "dense")}
        share = macs["sparse"] / max(self.plan.macs, 1)
        foot = [
            f"{self.plan.name} at {height}x{width} on {self.backend}: {self.plan.macs / 1e6:.1f} MMAC, "
            f"{share:.1%} of them in sparse layers",
            f"R_max {self.plan.r_max} px, S_max {self.plan.s_max} px, "
            f"cache {sum(row.cache_bytes for row in rows) / 1e6:.1f} MB a stream, plan {self.plan.digest()[:16]}",
            *(() if memory is None else (str(memory),)),
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *foot])

    def _row(self, layer: LayerSpec, passing: frozenset[str] | None) -> Row:
        plan, note = self.plan, self.notes.get(layer.name, "")
        value = plan.value(layer.outputs[0])
        grid = None if value.grid is None else plan.grids[value.grid]
        stored = [plan.value(name) for name in layer.outputs if layer.mode != "view"]
        cache = sum(
            4 * _size(v.shape) if v.grid is None else self._kept(v, plan.grids[v.grid].cells, passing) for v in stored
        )
        field_px = ""
        if layer.fields is not None:
            y, x = layer.fields
            field_px = f"{y.size} {x.size}@{y.offset} {x.offset}"
        in_torch = bool(note) or (self.backend != "cpp" and layer.mode == "dense")
        kernel = "torch" if in_torch else "none" if layer.mode == "view" else f"{self.backend}:{layer.op}"
        if layer.name in self.tuned:
            kernel += f" tile {self.tuned[layer.name]}, tuned"
        stride = "" if grid is None else f"{grid.stride_y} {grid.stride_x}"
        shape = "x".join(map(str, value.shape))
        return Row(
            layer.name, layer.op, shape, stride, layer.mode, field_px, kernel, layer.macs, cache, note or layer.reason
        )

    def _kept(self, value: ValueSpec, cells: int, passing: frozenset[str] | None) -> int:
        if passing is None:  # two rows a cell; three maps of 4 bytes, two masks of 1
            return cells * (2 * self.itemsize * value.channels + 14)
        return 0 if value.name in passing else cells * self.itemsize * value.channels


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
