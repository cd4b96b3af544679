"""Report of an evaluation as one self-contained HTML file and as Markdown."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.report.grouping import by_method
from fluxshard.evaluate.report.summaries import summary_rows
from fluxshard.evaluate.report.tables import frontier_table, per_clip_table, summary_table
from fluxshard.evaluate.report.text_table import NOTHING, Cell, Table, markdown_paragraph, markdown_text, words
from fluxshard.files import write_whole

OWN_FACTS = frozenset({"family", "label", "parameter"})  # names of a method, which tables show
SHOWN_VALUES, LONGEST_VALUE = 6, 400  # values per fact; characters per value


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of the report.

    Attributes:
      picture: PNG, JPEG or SVG file, or its bytes.
      title: heading of the figure.
      caption: text below the figure.
    """

    picture: Path | bytes
    title: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An example frame with the detections of a method.

    Attributes:
      picture: PNG, JPEG or SVG file, or its bytes.
      caption: text below the picture: clip, frame and what it shows.
    """

    picture: Path | bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture for the HTML template.

    Attributes:
      source: data URI.
      title: heading; empty without.
      caption: text below the picture.
    """

    source: str
    title: str
    caption: str


def write_report(
    scores: Sequence[ClipScores],
    out: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    figures: Sequence[Figure] = (),
    examples: Sequence[Example] = (),
    facts: Mapping[str, Any] | None = None,
    dense: str = "dense",
    measure: str = "jaccard",
) -> Path:
    """Writes `out`/report.html with all tables, figures and examples embedded.

    Args:
      scores: scores of all methods and clips, the dense network included.
      out: directory; created if missing.
      title: title of the report.
      notes: paragraphs below the title.
      figures: figures, in order.
      examples: example frames, in order.
      facts: provenance: command, versions, machine. Facts of the scores follow them.
      dense: name of the method to compare with.
      measure: name of the measure of accuracy, see `summary_rows`.

    Returns:
      path of the report.

    Raises:
      EvaluationError: see `summary_rows`; or a picture is missing or neither PNG, JPEG nor SVG.
      OptionError: there is no such measure.
    """
    rows = summary_rows(scores, dense, measure)
    others = [row.method for row in rows if row.method != dense]
    text = (
        environment()
        .get_template("report.html.jinja")
        .render(
            title=title,
            subtitle=_subtitle(scores),
            notes=notes,
            summary=summary_table(rows),
            frontiers=frontier_table(rows) if others else None,
            figures=[Embedded(data_uri(each.picture), each.title, each.caption) for each in figures],
            clips=[(name, per_clip_table(scores, name, dense=dense, measure=measure)) for name in others],
            examples=[Embedded(data_uri(each.picture), "", each.caption) for each in examples],
            facts=_facts_table(scores, facts or {}),
            settings=_settings_table(scores),
        )
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    write_whole(path, text.encode())
    return path


def write_markdown(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    figures: Sequence[Figure] = (),
    examples: Sequence[Example] = (),
    facts: Mapping[str, Any] | None = None,
    dense: str = "dense",
    measure: str = "jaccard",
) -> Path:
    """Writes the report as GitHub Flavored Markdown.

    Pictures are linked relative to the file; pictures given as bytes are omitted.

    Args:
      scores: scores of all methods and clips, the dense network included.
      path: file of the report, such as out/report.md; its directory is created if missing.
      title: title of the report.
      notes: paragraphs below the title.
      figures: figures, in order.
      examples: example frames, in order.
      facts: provenance: command, versions, machine. Facts of the scores follow them.
      dense: name of the method to compare with.
      measure: name of the measure of accuracy, see `summary_rows`.

    Returns:
      `path`.

    Raises:
      EvaluationError: see `summary_rows`.
      OptionError: there is no such measure.
    """
    rows = summary_rows(scores, dense, measure)
    others = [row.method for row in rows if row.method != dense]
    parts = [f"# {markdown_text(title)}", markdown_paragraph(_subtitle(scores))]
    parts += [markdown_paragraph(note) for note in notes]
    parts += ["## Methods", summary_table(rows).markdown()]
    if others:
        parts += ["## Frontiers", frontier_table(rows).markdown()]
    drawn = [linked(each.picture, each.title, each.caption, path.parent) for each in figures]
    parts += _section("Figures", drawn)
    parts += _section("Examples", [linked(each.picture, "", each.caption, path.parent) for each in examples])
    if others:
        parts.append("## Clip by clip")
        for method in others:
            table = per_clip_table(scores, method, dense=dense, measure=measure)
            parts += [f"### {markdown_text(method)}", table.markdown()]
    parts += ["## How it was made", _facts_table(scores, facts or {}).markdown()]
    settings = _settings_table(scores)
    if settings is not None:
        parts += ["### Settings of the methods", settings.markdown()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ("\n\n".join(part.rstrip("\n") for part in parts) + "\n").encode())
    return path


def environment() -> jinja2.Environment:
    """Templates of reports; what is filled in is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fluxshard.evaluate.report", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        keep_trailing_newline=True,
    )


def _subtitle(scores: Sequence[ClipScores]) -> str:
    """Networks, and numbers of methods and clips."""
    methods, clips = len(by_method(scores)), len({entry.clip for entry in scores})
    networks = dict.fromkeys(str(entry.facts["network"]) for entry in scores if entry.facts.get("network"))
    text = f"{methods} {'method' if methods == 1 else 'methods'} on {clips} {'clip' if clips == 1 else 'clips'}"
    return f"{', '.join(networks)}: {text}" if networks else text


def _facts_table(scores: Sequence[ClipScores], facts: Mapping[str, Any]) -> Table:
    """Given facts, then facts of the scores except settings; facts that differ between clips list their values."""
    settings = _setting_names(scores)
    lines = [(str(name), _value(value)) for name, value in facts.items()]
    for name, values in _distinct(scores).items():
        text = "; ".join(values[:SHOWN_VALUES])
        if len(values) > SHOWN_VALUES:
            text += f"; and {len(values) - SHOWN_VALUES} more"
        if name not in settings and (name, text) not in lines:
            lines.append((name, text))
    return Table(
        headings=("fact", "value"),
        numeric=(False, False),
        rows=tuple((words(name), words(value)) for name, value in lines),
    )


def _settings_table(scores: Sequence[ClipScores]) -> Table | None:
    """Methods × facts in which they differ; None where there is no such fact."""
    names = _setting_names(scores)
    if not names:
        return None
    rows = []
    for method, clips in by_method(scores).items():
        values = _distinct(list(clips.values()))
        rows.append((words(method), *(words(values[name][0]) if name in values else Cell(NOTHING) for name in names)))
    return Table(headings=("method", *names), numeric=(False,) * (1 + len(names)), rows=tuple(rows))


def _setting_names(scores: Sequence[ClipScores]) -> list[str]:
    """Names of facts that are equal on all clips of a method but differ between methods."""
    methods = [_distinct(list(clips.values())) for clips in by_method(scores).values()]
    return [
        name
        for name in _distinct(scores)
        if all(len(values.get(name, ())) <= 1 for values in methods)
        and len({tuple(values.get(name, ())) for values in methods}) > 1
    ]


def _distinct(scores: Sequence[ClipScores]) -> dict[str, list[str]]:
    """Distinct values per fact, in the order of first appearance, without the facts that name a method."""
    found: dict[str, list[str]] = {}
    for entry in scores:
        for name, value in entry.facts.items():
            values = found.setdefault(str(name), [])
            if (text := _value(value)) not in values:
                values.append(text)
    return {name: values for name, values in found.items() if name not in OWN_FACTS}


def _value(value: Any) -> str:
    """Formats a fact: sizes as 384 × 640, mappings as name=value; long text is truncated."""
    text = _text(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(entry)}" for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        whole = bool(value) and all(type(entry) is int for entry in value)
        return (" × " if whole else ", ").join(_text(entry) for entry in value)
    return str(value)


def _section(heading: str, parts: Sequence[str]) -> list[str]:
    """A Markdown section of the non-empty parts; nothing where all are empty."""
    shown = [part for part in parts if part]
    return [f"## {heading}", *shown] if shown else []


def linked(picture: Path | bytes, title: str, caption: str, folder: Path) -> str:
    """Markdown of a picture with title and caption; empty for bytes."""
    if isinstance(picture, bytes):
        return ""
    target = Path(os.path.relpath(picture, folder)).as_posix()
    # inside angle brackets only these need escaping
    target = target.replace("<", "%3C").replace(">", "%3E").replace("\n", "%0A")
    lines = [f"### {markdown_text(title)}"] if title else []
    # brackets would end the link text
    described = markdown_text((title or caption).translate({ord("["): "(", ord("]"): ")"}))
    lines.append(f"![{described}](<{target}>)")
    if caption:
        lines.append(markdown_paragraph(caption))
    return "\n\n".join(lines)


def data_uri(picture: Path | bytes) -> str:
    """Data URI of a picture, its media type detected by content.

    Raises:
      EvaluationError: the picture cannot be read or is neither PNG, JPEG nor SVG.
    """
    if isinstance(picture, bytes):
        content, name = picture, f"{len(picture)} bytes"
    else:
        name = repr(str(picture))
        try:
            content = picture.read_bytes()
        except OSError as error:
            raise EvaluationError(
                f"picture {name} cannot be read ({error.strerror}); draw it before the report"
            ) from error
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "png"
    elif content.startswith(b"\xff\xd8\xff"):
        kind = "jpeg"
    elif b"<svg" in content[:1000]:
        kind = "svg+xml"
    else:
        raise EvaluationError(f"picture {name} is neither PNG, JPEG nor SVG; give one of these")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
