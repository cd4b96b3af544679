"""The layers of a plan in words, and as tables."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fluxshard.ir.params import Island
from fluxshard.ir.plan import LayerSpec, Plan, ValueSpec
from fluxshard.ir.retention import read_at_once

_MOST_DENSE = 8  # dense parts that a short explanation lists
# Words of reasons, the most telling first: an island has the reasons of all of its ops.
_TELLING = ("attention", "matrix product", "whole map", "softmax", "statistics", "depend", "means", "maximum", "sums",
            "linear", "sequence", "moves", "stretched", "different grids")  # fmt: skip
_HEADER = (
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


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of an explanation.

    Attributes:
      name, op: of the layer.
      part: the module of the model that it is, or the innermost one around all of its ops; empty: the model itself.
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
    part: str = ""

    @property
    def why(self) -> str:
        """`note` in a few words, without names of ops."""
        return plain(self.note)


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
    """A plan explained; `str()` gives a summary with what is dense and why, `verbose()` all layers.

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

    @property
    def sparse_share(self) -> float:
        """Share of the multiply-accumulates that is in sparse layers."""
        return sparse_share(self.plan)

    def __repr__(self) -> str:
        return f"Explanation({describe(self.plan)}, {self.backend}); print it"

    def __str__(self) -> str:
        rows = self.rows
        ops = {mode: Counter(row.op for row in rows if row.mode == mode) for mode in ("sparse", "view", "dense")}
        lines = [*self._foot(rows), ""]
        for mode, title in (("sparse", "sparse layers"), ("view", "views"), ("dense", "dense islands")):
            named = ", ".join(f"{count} {op}" for op, count in ops[mode].most_common() if op != "island")
            lines.append(f"{sum(ops[mode].values())} {title}{': ' if named else ''}{named}")
        dense = sorted((row for row in rows if row.mode == "dense"), key=lambda row: -row.macs)
        if dense:
            lines += ["", "dense, run whole when what they read changes:"]
            lines += [f"  {self._share(row):>6}  {row.part or row.name}: {row.why}" for row in dense[:_MOST_DENSE]]
        if len(dense) > _MOST_DENSE:
            rest = sum(row.macs for row in dense[_MOST_DENSE:]) / max(self.plan.macs, 1)
            lines.append(f"  {rest:>6.1%}  {len(dense) - _MOST_DENSE} more")
        if self.notes:
            lines += ["", "in torch:", *(f"  {name}: {note}" for name, note in self.notes.items())]
        return "\n".join(lines)

    def verbose(self) -> str:
        """All layers as a table: geometry, kernels, cost and reasons."""
        rows = self.rows
        cells = [self._cells(row) for row in rows]
        widths = [max(len(line[i]) for line in [_HEADER, *cells]) for i in range(len(_HEADER) - 1)]
        lines = [
            "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
            for line in [_HEADER, *cells]
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *self._foot(rows)])

    def _repr_html_(self) -> str:
        rows = self.rows
        head = "".join(f"<th>{text}</th>" for text in ("module", *_HEADER[1:5], "MMAC", "why"))
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in self._short_cells(row))}</tr>" for row in rows
        )
        title = "<br>".join(html.escape(line) for line in self._foot(rows))
        return f"<p>{title}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _short_cells(self, row: Row) -> tuple[str, ...]:
        macs = f"{row.macs / 1e6:.2f}" if row.macs else ""
        return row.part or row.name, row.op, row.shape, row.stride, row.mode, macs, row.why

    def _cells(self, row: Row) -> tuple[str, ...]:
        return (
            row.name, row.op, row.shape, row.stride, row.mode,
            *(row.receptive_field.split("@") if row.receptive_field else ("", "")), row.kernel,
            f"{row.macs / 1e6:.2f}" if row.macs else "",
            f"{row.cache_bytes / 1e3:.0f}" if row.cache_bytes else "", row.note,
        )  # fmt: skip

    def _share(self, row: Row) -> str:
        return f"{row.macs / max(self.plan.macs, 1):.1%}"

    def _foot(self, rows: tuple[Row, ...]) -> list[str]:
        (height, width), memory = self.plan.image_size, self.memory
        return [
            f"{self.plan.name} at {height}x{width} on {self.backend}: {self.plan.macs / 1e6:.1f} MMAC, "
            f"{self.sparse_share:.1%} of them in sparse layers",
            f"R_max {self.plan.r_max} px, S_max {self.plan.s_max} px, "
            f"cache {sum(row.cache_bytes for row in rows) / 1e6:.1f} MB a stream, plan {self.plan.digest()[:16]}",
            *(() if memory is None else (str(memory),)),
        ]

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
        in_torch = bool(note) or (self.backend == "reference" and layer.mode == "dense")
        kernel = "torch" if in_torch else "none" if layer.mode == "view" else f"{self.backend}:{layer.op}"
        if layer.name in self.tuned:
            kernel += f" tile {self.tuned[layer.name]}, tuned"
        stride = "" if grid is None else f"{grid.stride_y} {grid.stride_x}"
        shape = "x".join(map(str, value.shape))
        return Row(
            layer.name, layer.op, shape, stride, layer.mode, field_px, kernel, layer.macs, cache, note or layer.reason,
            _part(layer),
        )  # fmt: skip

    def _kept(self, value: ValueSpec, cells: int, passing: frozenset[str] | None) -> int:
        if passing is None:  # two rows a cell; three maps of 4 bytes, two masks of 1
            return cells * (2 * self.itemsize * value.channels + 14)
        return 0 if value.name in passing else cells * self.itemsize * value.channels


def plain(note: str) -> str:
    """The most telling reasons of an island, without names of ops: two at most."""
    texts = list(dict.fromkeys(part.rpartition(": ")[2].strip() for part in note.split(";") if part.strip()))
    telling = [text for word in _TELLING for text in texts if word in text]
    return "; ".join(list(dict.fromkeys(telling))[:2] or texts[:1])


def sparse_share(plan: Plan) -> float:
    """Share of a plan's multiply-accumulates that is in sparse layers."""
    return sum(layer.macs for layer in plan.layers if layer.mode == "sparse") / max(plan.macs, 1)


def describe(plan: Plan) -> str:
    """A plan in a few words."""
    height, width = plan.image_size
    return f"{plan.name} {height}x{width}, {plan.macs / 1e6:.1f} MMAC, {sparse_share(plan):.1%} sparse"


def _part(layer: LayerSpec) -> str:
    """The module of the model in which the ops of a layer are: what the names of its steps have in common."""
    if not isinstance(layer.params, Island):
        return layer.name
    paths = [step.name.split(".")[:-1] for step in layer.params.steps]
    paths = [path for path in paths if path]
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
