"""A table of text as Markdown and HTML show it, and how its numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

NOTHING = "—"
# only where it would be markup: on GitHub, underscores within words and lone brackets are just that
_MARKUP = re.compile(r"[\\|`*<&~]|\](?=[(\[:])|(?<!\w)_|_(?!\w)")
_OPENING = re.compile(r"^[\[#>+=-]|(?<=^\d)[.)]")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
      text: what is shown.
      value: what to sort by; None sorts last.
    """

    text: str
    value: float | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells.

    Attributes:
      notes: what the numbers are and against what they are measured; shown above the rows.
      headings: one per column.
      numeric: per column, whether it holds numbers, which are aligned to the right.
      rows: as many cells each as there are headings.
    """

    notes: tuple[str, ...] = ()
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...] = field(default=())

    def markdown(self) -> str:
        """The notes as a list and the rows as a table, in GitHub's Markdown; ends with a line break."""
        lines = [f"- {markdown_paragraph(note)}" for note in self.notes]
        if lines:
            lines.append("")
        lines.append(_line(self.headings))
        lines.append("|" + "|".join("---:" if number else "---" for number in self.numeric) + "|")
        lines.extend(_line([cell.text for cell in row]) for row in self.rows)
        return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: on one line, with whatever would be markup escaped."""
    return _MARKUP.sub(lambda match: "\\" + match.group(), " ".join(text.split()))


def markdown_paragraph(text: str) -> str:
    """The same for text that begins a line, where further characters make lists, headings and quotations."""
    return _OPENING.sub(lambda match: "\\" + match.group(), markdown_text(text))


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_text(text) for text in texts) + " |"


def words(text: str) -> Cell:
    """A cell of text that sorts as such."""
    return Cell(text, text)


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> Cell:
    """A number with a fixed count of decimals."""
    return Cell(_fixed(value, digits, "+" if signed else ""), _sortable(value))


def percent(value: float | None, interval: tuple[float, float] | None = None, *, digits: int = 1) -> Cell:
    """A share in percent, followed by its interval: `12.3% [10.1, 14.2]`."""
    if _sortable(value) is None:
        return Cell(NOTHING)
    assert value is not None
    text = f"{_fixed(100 * value, digits)}%"
    if interval is not None:
        text += f" [{_fixed(100 * interval[0], 1)}, {_fixed(100 * interval[1], 1)}]"
    return Cell(text, float(value))


def count(value: float | None) -> Cell:
    """A count or a quantile of counts: a decimal only where there is one."""
    return Cell(_fixed(value, 1).removesuffix(".0"), _sortable(value))


def _sortable(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _fixed(value: float | None, digits: int, sign: str = "") -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    rounded = round(float(value), digits)
    return f"{rounded + 0.0:{sign}.{digits}f}"  # adding nothing turns -0.0 into 0.0
