"""The report of an evaluation: one HTML file that needs no other, and the same as Markdown."""

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
from fluxshard.evaluate.report.tables import frontier_table, per_clip_table, summary_rows, summary_table
from fluxshard.evaluate.report.text_table import NOTHING, Cell, Table, markdown_paragraph, markdown_text, words
from fluxshard.files import write_whole

OWN_FACTS = frozenset({"family", "label", "parameter"})  # these name a method, and tables show them
SHOWN_VALUES, LONGEST_VALUE = 6, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture of the results.

    Attributes:
      picture: a PNG, JPEG or SVG file, or its bytes.
      title: what it is called.
      caption: what it shows, and what is to be seen.
    """

    picture: Path | bytes
    title: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A frame with what methods found in it.

    Attributes:
      picture: a PNG, JPEG or SVG file, or its bytes.
      caption: which frame of which clip, and what is to be seen.
    """

    picture: Path | bytes
    caption: str


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A picture as the template shows it."""

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
    """Writes `out`/report.html: tables, pictures, examples, and how all of it was made, in one file.

    Args:
      scores: of all methods and clips, the dense network included.
      out: a folder, made if need be.
      title: of the report.
      notes: paragraphs below the title: what was asked and what came out.
      figures: pictures of results, in their order.
      examples: frames, in their order.
      facts: how it was made: command, versions, machine. Facts of the scores are listed below them.
      dense: the method to compare with.
      measure: of accuracy; see `summary_rows`.

    Returns:
      the path of the report.

    Raises:
      EvaluationError: see `summary_rows`; or a picture is missing or of another kind.
      OptionError: there is no such measure.
    """
    rows = summary_rows(scores, dense, measure)
    others = [row.method for row in rows if row.method != dense]
    text = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            title=title,
            subtitle=_subtitle(scores),
            notes=notes,
            summary=summary_table(rows),
            frontiers=frontier_table(rows) if others else None,
            figures=[_Embedded(_data_uri(each.picture), each.title, each.caption) for each in figures],
            clips=[(name, per_clip_table(scores, name, dense=dense, measure=measure)) for name in others],
            examples=[_Embedded(_data_uri(each.picture), "", each.caption) for each in examples],
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
    """Writes the report as GitHub's Markdown.

    Pictures are links relative to the file; those that are given as bytes have no place to link to and are left out.
    Other arguments are as for `write_report`.

    Args:
      path: the file, such as out/report.md; its folder is made if need be.

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
    linked = [_linked(each.picture, each.title, each.caption, path.parent) for each in figures]
    parts += _section("Figures", linked)
    parts += _section("Examples", [_linked(each.picture, "", each.caption, path.parent) for each in examples])
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


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fluxshard.evaluate.report", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        keep_trailing_newline=True,
    )


def _subtitle(scores: Sequence[ClipScores]) -> str:
    methods, clips = len(by_method(scores)), len({entry.clip for entry in scores})
    networks = dict.fromkeys(str(entry.facts["network"]) for entry in scores if entry.facts.get("network"))
    text = f"{methods} {'method' if methods == 1 else 'methods'} on {clips} {'clip' if clips == 1 else 'clips'}"
    return f"{', '.join(networks)}: {text}" if networks else text


def _facts_table(scores: Sequence[ClipScores], facts: Mapping[str, Any]) -> Table:
    """Given facts, then those of scores but for settings; one that differs among clips is listed with its values."""
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
    """Methods × the facts in which they differ; None where they differ in none."""
    names = _setting_names(scores)
    if not names:
        return None
    rows = []
    for method, clips in by_method(scores).items():
        values = _distinct(list(clips.values()))
        rows.append((words(method), *(words(values[name][0]) if name in values else Cell(NOTHING) for name in names)))
    return Table(headings=("method", *names), numeric=(False,) * (1 + len(names)), rows=tuple(rows))


def _setting_names(scores: Sequence[ClipScores]) -> list[str]:
    """Facts that are the same on all clips of a method, but not of all methods."""
    methods = [_distinct(list(clips.values())) for clips in by_method(scores).values()]
    return [
        name
        for name in _distinct(scores)
        if all(len(values.get(name, ())) <= 1 for values in methods)
        and len({tuple(values.get(name, ())) for values in methods}) > 1
    ]


def _distinct(scores: Sequence[ClipScores]) -> dict[str, list[str]]:
    """Facts but for those that name a method, with the values that they have, in the order in which they came."""
    found: dict[str, list[str]] = {}
    for entry in scores:
        for name, value in entry.facts.items():
            values = found.setdefault(str(name), [])
            if (text := _value(value)) not in values:
                values.append(text)
    return {name: values for name, values in found.items() if name not in OWN_FACTS}


def _value(value: Any) -> str:
    """A fact as text: sizes as 384 × 640, mappings as name=value, cut where it is too long to be read in a table."""
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
    shown = [part for part in parts if part]
    return [f"## {heading}", *shown] if shown else []


def _linked(picture: Path | bytes, title: str, caption: str, folder: Path) -> str:
    """A picture with its title and caption; empty for bytes."""
    if isinstance(picture, bytes):
        return ""
    target = Path(os.path.relpath(picture, folder)).as_posix()
    # between angle brackets only these need escaping
    target = target.replace("<", "%3C").replace(">", "%3E").replace("\n", "%0A")
    lines = [f"### {markdown_text(title)}"] if title else []
    # brackets would end the text of the link
    described = markdown_text((title or caption).translate({ord("["): "(", ord("]"): ")"}))
    lines.append(f"![{described}](<{target}>)")
    if caption:
        lines.append(markdown_paragraph(caption))
    return "\n\n".join(lines)


def _data_uri(picture: Path | bytes) -> str:
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
