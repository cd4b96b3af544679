"""Style shared by the plots of an evaluation: figure, axes, colours, legend and non-overlapping labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxshard.errors import OptionError

DENSE, TEXT, QUIET, GRID = "#868e96", "#495057", "#adb5bd", "#e9ecef"
COLOURS = ("#e8590c", "#1971c2", "#2b8a3e", "#9c36b5", "#0c8599", "#f08c00", "#c2255c", "#5c4b3a")
# shapes distinguish series without colour
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = ("-", "--", ":")
SUFFIXES = (".png", ".svg")
LABEL_SIZE = 8  # points


@dataclass(frozen=True, slots=True)
class Style:
    """Style of one series.

    Attributes:
      colour: matplotlib colour.
      marker: matplotlib marker.
      line: matplotlib line style.
    """

    colour: str
    marker: str
    line: str


def style_of(index: int) -> Style:
    """Style of the series with this index; the first 24 differ."""
    return Style(
        COLOURS[index % len(COLOURS)],
        MARKERS[index % len(MARKERS)],
        LINES[index // len(COLOURS) % len(LINES)],
    )


def canvas(path: Path, rows: int = 1, *, size: tuple[float, float] = (8.0, 5.0)) -> tuple[Any, list[Any]]:
    """Creates a figure with axes below each other that share their x axis.

    Args:
      path: file that it will be saved to; only its suffix is checked, before anything is drawn.
      rows: number of axes.
      size: (width, height) in inches.

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


def annotate(figure: Any, axis: Any, title: str, note: str = "") -> None:
    """Adds a title, a legend above the axes and a note below them.

    Args:
      figure: matplotlib figure.
      axis: its topmost axes.
      title: title of the figure.
      note: text below the axes; empty adds none.
    """
    figure.suptitle(plain(title), fontsize=12, fontweight="bold", x=0.01, ha="left")
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        axis.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=_columns(labels, 13.0 * figure.get_figwidth()),
            frameon=False,
            fontsize=9,
            borderaxespad=0.2,
            columnspacing=1.4,
        )
    if note:
        lines = textwrap.wrap(note, int(16.5 * figure.get_figwidth()), break_long_words=False)
        figure.supxlabel(plain("\n".join(lines)), fontsize=LABEL_SIZE, color=TEXT, x=0.01, ha="left")


def save(figure: Any, path: Path) -> Path:
    """Writes the figure, creating its directory if missing; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # without a date, equal scores give equal files
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    return path


def _columns(labels: Sequence[str], width: float) -> int:
    """Number of legend columns that fit into a width in letters; handle and padding are about seven letters wide."""
    return max(1, min(len(labels), int(width / (7 + max(len(label) for label in labels)))))


def plain(text: str) -> str:
    """Escapes text for matplotlib: dollars start formulas, and a leading underscore hides a legend entry."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


@dataclass(frozen=True, slots=True)
class Label:
    """Label of a point, in data coordinates.

    Attributes:
      x, y: position of the point.
      text: text of the label.
      colour: colour of the text.
      x_span, y_span: (low, high) ends of the point's whiskers.
    """

    x: float
    y: float
    text: str
    colour: str
    x_span: tuple[float, float]
    y_span: tuple[float, float]


def place_labels(figure: Any, axis: Any, labels: Sequence[Label]) -> None:
    """Places labels beside their points without covering points, whiskers or other labels; drops those without room.

    Everything else must have been drawn before. Labels do not affect the layout.

    Args:
      figure: matplotlib figure.
      axis: axes of the points.
      labels: labels to place, in order of priority.
    """
    from matplotlib.patheffects import withStroke

    texts = [
        axis.annotate(
            plain(label.text), (label.x, label.y), (0, 0), textcoords="offset points", fontsize=LABEL_SIZE,
            color=label.colour, ha="center", va="center", in_layout=False, zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
        for label in labels
    ]  # fmt: skip
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    inside = axis.get_window_extent(renderer)
    per_point = figure.dpi / 72
    taken = [box for label in labels for box in _boxes(axis, label, per_point)]
    for text, label in zip(texts, labels, strict=True):
        extent = text.get_window_extent(renderer)
        half = extent.width / 2, extent.height / 2
        x, y = axis.transData.transform((label.x, label.y))
        for gap, right, up in PLACES:
            shift = right * (half[0] + gap * per_point), up * (half[1] + gap * per_point)
            wide, high = half[0] + per_point, half[1] + per_point
            box = (x + shift[0] - wide, y + shift[1] - high, x + shift[0] + wide, y + shift[1] + high)
            within = inside.x0 <= box[0] and box[2] <= inside.x1 and inside.y0 <= box[1] and box[3] <= inside.y1
            if within and not any(_overlap(box, other) for other in taken):
                text.set_position((shift[0] / per_point, shift[1] / per_point))
                taken.append(box)
                break
        else:
            text.remove()


Box = tuple[float, float, float, float]  # left, bottom, right, top
# distance in points and direction (right, up): between whiskers first, then beyond their ends
PLACES = tuple(
    (gap, right, up)
    for gap in (3.0, 7.0, 12.0, 18.0)
    for right, up in ((-1, 1), (1, -1), (1, 1), (-1, -1), (0, 1), (1, 0), (0, -1), (-1, 0))
)


def _boxes(axis: Any, label: Label, per_point: float) -> list[Box]:
    """Areas covered by a point and its whiskers, in pixels of the picture."""
    x, y = axis.transData.transform((label.x, label.y))
    left, bottom = axis.transData.transform((label.x_span[0], label.y_span[0]))
    right, top = axis.transData.transform((label.x_span[1], label.y_span[1]))
    marker, line = 4 * per_point, per_point
    return [
        (x - marker, y - marker, x + marker, y + marker),
        (left, y - line, right, y + line),
        (x - line, bottom, x + line, top),
    ]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
