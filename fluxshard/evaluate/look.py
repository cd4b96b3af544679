"""What pictures of an evaluation have in common: canvas, colours, axes, labels that keep clear of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxshard.errors import OptionError

DENSE, TEXT, QUIET, GRID = "#868e96", "#495057", "#adb5bd", "#e9ecef"
COLOURS = ("#e8590c", "#1971c2", "#2b8a3e", "#9c36b5", "#0c8599", "#f08c00", "#c2255c", "#5c4b3a")
# shapes tell series apart where colours do not
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = ("-", "--", ":")
SUFFIXES = (".png", ".svg")
LABEL_SIZE = 8


@dataclass(frozen=True, slots=True)
class Style:
    """How one series is drawn."""

    colour: str
    marker: str
    line: str


def style_of(index: int) -> Style:
    """The style of the series with this index: all differ up to the 24th."""
    return Style(
        COLOURS[index % len(COLOURS)],
        MARKERS[index % len(MARKERS)],
        LINES[index // len(COLOURS) % len(LINES)],
    )


def canvas(path: Path, rows: int = 1, *, size: tuple[float, float] = (8.0, 5.0)) -> tuple[Any, list[Any]]:
    """A figure and its axes, one above the other with a common x axis.

    Args:
      path: where it will be saved; only looked at, so that a wrong suffix is refused before anything is drawn.
      rows: count of axes.
      size: width and height, inches.

    Raises:
      OptionError: the suffix is neither .png nor .svg.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"pictures are written as {' or '.join(SUFFIXES)}, not {path.suffix!r} ({path.name!r})")
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["bottom", "left"]].set_color(QUIET)
        axis.tick_params(colors=TEXT)
        axis.grid(axis="y", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def finish(figure: Any, axes: Sequence[Any], path: Path, title: str, note: str = "") -> None:
    """Puts the title over everything, a legend above the first axes that have one, a note below, and saves."""
    heading = figure.suptitle(_math_free(title), fontsize=12, fontweight="bold", x=0.01, ha="left")
    heading.set_parse_math(False)
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        if handles:
            _legend(axis, handles, labels)
            break
    if note:
        axes[-1].annotate(
            note, (0, 0), (0, 2), xycoords="figure points", textcoords="offset points", fontsize=LABEL_SIZE, color=TEXT
        )
        figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))
    path.parent.mkdir(parents=True, exist_ok=True)
    # without a date, equal scores are equal pictures
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
