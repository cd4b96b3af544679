"""A report as Markdown and as one self-contained HTML file, with all of its figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.evaluate.report.report import Embedded, Figure, data_uri, environment, linked
from fluxshard.evaluate.report.text_table import Table, markdown_paragraph, markdown_text
from fluxshard.files import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the report.

    Attributes:
      title: its heading.
      notes: paragraphs below it.
      tables: below these.
    """

    title: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report.

    Attributes:
      title, subtitle: at its head.
      notes: what holds for all of it.
      sections: with tables.
      figures: at its end.
    """

    title: str
    subtitle: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    figures: tuple[Figure, ...]

    def write(self, out: Path, values: Mapping[str, Any]) -> Path:
        """Writes report.md, report.html and results.json.

        Args:
          out: directory.
          values: for the JSON file; what is not finite becomes null.

        Returns:
          path of the HTML file.
        """
        write_whole(out / "results.json", (json.dumps(_finite(values), indent=1) + "\n").encode())
        parts = [
            f"# {markdown_text(self.title)}", markdown_paragraph(self.subtitle), *map(markdown_paragraph, self.notes)
        ]  # fmt: skip
        for section in self.sections:
            parts += [f"## {markdown_text(section.title)}", *map(markdown_paragraph, section.notes)]
            parts += [table.markdown() for table in section.tables]
        parts += ["## Figures", *(linked(one.picture, one.title, one.caption, out) for one in self.figures)]
        write_whole(out / "report.md", ("\n\n".join(part.rstrip("\n") for part in parts) + "\n").encode())
        embedded = [Embedded(data_uri(one.picture), one.title, one.caption) for one in self.figures]
        text = (
            environment()
            .get_template("sections.html.jinja")
            .render(
                title=self.title, subtitle=self.subtitle, notes=self.notes, sections=self.sections, figures=embedded
            )
        )
        path = out / "report.html"
        write_whole(path, text.encode())
        return path


def _finite(value: Any) -> Any:
    """Plain values; what is not finite becomes None."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value
