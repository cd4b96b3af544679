"""Table of text cells, its Markdown, and the formatting of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

NOTHING = "—"
# escaped only where they would be markup: on GitHub, underscores inside words and single brackets are not
_MARKUP = re.compile(r"[\\|`*<&~]|\](?=[(\[:])|(?<!\w)_|_(?!\w)")
_OPENING = re.compile(r"^[\[#>+=-]|(?<=^\d)[.)]")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
      text: displayed text.
      value: sort key; None sorts last.
    """

    text: str
    value: float | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under headings.

    Attributes:
      notes: definitions of the columns, displayed above the rows.
      headings: one heading per column.
      numeric: per column, whether it is right-aligned.
      rows: one cell per column each.
    """

    notes: tuple[str, ...] = ()
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...] = field(default=())

    def markdown(self) -> str:
        """GitHub Flavored Markdown: the notes as a list, then the rows as a table; ends with a newline."""
        lines = [f"- {markdown_paragraph(note)}" for note in self.notes]
        if lines:
            lines.append("")
        lines.append(_line(self.headings))
        lines.append("|" + "|".join("---:" if number else "---" for number in self.numeric) + "|")
        lines.extend(_line([cell.text for cell in row]) for row in self.rows)
        return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Escapes text for use inside a line of Markdown; white space collapses to single spaces."""
    return _MARKUP.sub(lambda match: "\\" + match.group(), " ".join(text.split()))


def markdown_paragraph(text: str) -> str:
    """Escapes text that starts a line, where further characters would start lists, headings and quotations."""
    return _OPENING.sub(lambda match: "\\" + match.group(), markdown_text(text))


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_text(text) for text in texts) + " |"


def words(text: str) -> Cell:
    """Cell of text, sorted by the text."""
    return Cell(text, text)


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> Cell:
    """Cell of a number with a fixed number of decimals."""
    return Cell(_fixed(value, digits, "+" if signed else ""), _sortable(value))


def percent(value: float | None, interval: tuple[float, float] | None = None, *, digits: int = 1) -> Cell:
    """Cell of a fraction in percent with its interval: `12.3% [10.1, 14.2]`.

    Args:
      value: fraction; None and NaN display as '—'.
      interval: (low, high) as fractions; None omits it.
      digits: decimals of the value; those of the interval have one.
    """
    if _sortable(value) is None:
        return Cell(NOTHING)
    assert value is not None
    text = f"{_fixed(100 * value, digits)}%"
    if interval is not None:
        text += f" [{_fixed(100 * interval[0], 1)}, {_fixed(100 * interval[1], 1)}]"
    return Cell(text, float(value))


def count(value: float | None) -> Cell:
    """Cell of a count or a quantile of counts, with a decimal only if it is not whole."""
    return Cell(_fixed(value, 1).removesuffix(".0"), _sortable(value))


def _sortable(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _fixed(value: float | None, digits: int, sign: str = "") -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    rounded = round(float(value), digits)
    return f"{rounded + 0.0:{sign}.{digits}f}"  # adding 0.0 turns -0.0 into 0.0
