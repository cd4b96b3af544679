"""What edges lose to each other where they share a link and a server (the paper's Fig. 7): a table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fluxshard.evaluate.end_to_end.live.figures import LiveFigures, Measured
from fluxshard.evaluate.report.plot_style import annotate, canvas, save, style_of
from fluxshard.evaluate.report.text_table import Cell, Table, number, percent, words

Group = Sequence[Measured]

SHARING_NOTES = (
    "Every edge is a process with a camera, a connection and a stream of its own; each begins with another clip. "
    "Frames count from when all edges are warm until each has its number, so all of them are under way all the time. "
    "Figures are of all edges' frames; fps is of one edge, memory of the largest. Growth is over one edge that ran in "
    "the same way. The edges share the edge's processors, so that only slow ones fit on a machine; the server has its "
    "own.",
)


def growth_table(group: Group, notes: tuple[str, ...]) -> Table:
    """Mean and 95% quantile of latency by number of edges, and how much more it is than with one.

    Args:
      group: runs of one tier.
      notes: what the link is like.
    """
    counts, by_method = _by_method(group)
    rows = []
    for name, own in by_method.items():
        cells = [words(name)]
        for edges in counts:
            cells += [number(own[edges].mean_ms, 0), number(own[edges].p95_ms, 0)]
        for edges in counts[1:]:
            for key in ("mean_ms", "p95_ms", "energy_j"):
                cells.append(_growth(own, key, counts[0], edges))
        rows.append(tuple(cells))
    headings = ["growth"]
    for edges in counts:
        headings += [f"{edges} edge{'s' if edges > 1 else ''}: ms", "p95"]
    for edges in counts[1:]:
        headings += [f"mean at {edges}", f"p95 at {edges}", f"energy at {edges}, modelled"]
    numeric = (False, *(True for _ in headings[1:]))
    return Table(notes=notes, headings=tuple(headings), numeric=numeric, rows=tuple(rows))


def draw_growth(group: Group, tier: str, path: Path) -> Path:
    """Mean latency, its 95% quantile and energy over the number of edges."""
    counts, by_method = _by_method(group)
    shown = {"mean_ms": "mean latency, ms", "p95_ms": "95% quantile, ms", "energy_j": "edge's energy, J"}
    figure, axes = canvas(path, len(shown), size=(8.0, 7.5))
    for index, (name, own) in enumerate(by_method.items()):
        style = style_of(index)
        for axis, key in zip(axes, shown, strict=True):
            values = [getattr(own[edges], key) for edges in counts]
            axis.plot(counts, values, color=style.colour, marker=style.marker, label=name)
    for axis, label in zip(axes, shown.values(), strict=True):
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("edges with one uplink and one server")
    axes[-1].set_xticks(counts)
    annotate(figure, axes[0], f"Several edges, {tier}", "Measured, over an emulated link; energy is modelled.")
    return save(figure, path)


def _by_method(group: Group) -> tuple[list[int], dict[str, dict[int, LiveFigures]]]:
    """Numbers of edges, rising, and by method the figures at each."""
    found: dict[str, dict[int, LiveFigures]] = {}
    for one in group:
        assert one.run.edges is not None
        found.setdefault(one.run.method.name, {})[one.run.edges] = one.figures
    return sorted({edges for own in found.values() for edges in own}), found


def _growth(own: dict[int, LiveFigures], key: str, first: int, edges: int) -> Cell:
    return percent(getattr(own[edges], key) / getattr(own[first], key) - 1)
