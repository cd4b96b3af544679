"""The report is one file, escapes what it is given, and says how it was made."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.report.report import Example, Figure, write_markdown, write_report
from tests.unit.evaluate.report.scores import clip_scores, evaluation

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags with attributes, cells of tables, and what of it is not balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.cells, self.unbalanced = [], [], [], []
        self.feed(text)
        self.close()
        self.unbalanced += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def png(colour=(200, 30, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_report_needs_no_other_file(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    path = write_report(
        evaluation(),
        tmp_path / "out",
        title="An evaluation",
        notes=["first", "second"],
        figures=[Figure(picture=tmp_path / "a.png", title="One", caption="what it shows")],
        examples=[Example(picture=png((1, 2, 3)), caption="frame 3 of bear")],
        facts={"command": "fluxshard evaluate", "versions": {"torch": "2.13"}},
    )
    assert path == tmp_path / "out" / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.unbalanced == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object", "embed"}
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources] == [
        png(),
        png((1, 2, 3)),
    ]
    links = [attrs["href"] for _, attrs in page.tags if "href" in attrs]
    anchors = {f"#{attrs['id']}" for _, attrs in page.tags if "id" in attrs}
    assert links and set(links) <= anchors
    assert "http://" not in text and "https://" not in text and "url(" not in text and "@import" not in text
    for shown in ("An evaluation", "first", "what it shows", "frame 3 of bear", "yolo11n-seg: 5 methods on 2 clips"):
        assert shown in text
    assert {"fluxshard evaluate", "torch=2.13", "frontier@1%", "bear", "cows"} <= set(page.cells)
    assert any(attrs.get("name") == "viewport" for _, attrs in page.tags)
    assert "prefers-color-scheme: dark" in text


def test_everything_is_escaped(tmp_path):
    evil = "<b>\"&'</script>"
    scores = [clip_scores(f"{evil}clip", method, facts={"family": evil, "machine": evil}) for method in ("dense", evil)]
    path = write_report(
        scores,
        tmp_path,
        title=evil,
        notes=[evil],
        figures=[Figure(picture=png(), title=evil, caption=evil)],
        examples=[Example(picture=png(), caption=evil)],
        facts={evil: evil},
    )
    text = path.read_text()
    page = Page(text)
    assert "<b>" not in text and page.unbalanced == []
    assert text.count("</script>") == 1
    assert page.cells.count(evil) >= 3
    assert [attrs["alt"] for tag, attrs in page.tags if tag == "img"] == [evil, evil]


def test_cells_carry_what_to_sort_by(tmp_path):
    scores = [clip_scores("a", "dense", jaccard=0.8, compute=1.0), clip_scores("a", "m", jaccard=None, compute=0.25)]
    page = Page(write_report(scores, tmp_path, title="t").read_text())
    values = [attrs.get("data-value") for tag, attrs in page.tags if tag == "td"]
    assert "0.25" in values and "dense" in values
    missing = [value for cell, value in zip(page.cells, values, strict=True) if cell == "—"]
    assert missing and set(missing) == {None}


def test_the_dense_network_alone_makes_a_report(tmp_path):
    scores = [clip_scores("a", "dense")]
    page = Page(write_report(scores, tmp_path, title="t").read_text())
    assert page.unbalanced == []
    assert not any(attrs.get("id") in ("frontiers", "clips") for _, attrs in page.tags)
    assert "## Frontiers" not in write_markdown(scores, tmp_path / "a.md", title="t").read_text()


def table_after(text, heading):
    """Cells of the first table after a heading, row by row."""
    page = Page(text[text.index(f">{heading}</h") :].split("</table>")[0])
    width = sum(tag == "th" for tag, _ in page.tags)
    return [page.cells[index : index + width] for index in range(0, len(page.cells), width)]


def test_facts_that_differ_among_clips_are_listed(tmp_path):
    scores = [
        clip_scores(clip, "dense", facts={"shape": [384, 640], "fps": index, "family": "hidden"})
        for index, clip in enumerate("abcdefgh")
    ]
    text = write_report(scores, tmp_path, title="t", facts={"flags": [True, False], "long": "x" * 500}).read_text()
    assert table_after(text, "How it was made") == [
        ["flags", "True, False"],
        ["long", "x" * 399 + "…"],
        ["shape", "384 × 640"],
        ["fps", "0; 1; 2; 3; 4; 5; and 2 more"],
    ]
    assert "Settings of the methods" not in text


def test_facts_that_differ_among_methods_are_their_settings(tmp_path):
    scores = [
        clip_scores(clip, method, facts={"machine": "m", "clip": clip, **facts})
        for method, facts in (("dense", {}), ("one", {"tau": 0.1, "every": 4}), ("two", {"tau": 0.2}))
        for clip in "ab"
    ]
    text = write_report(scores, tmp_path, title="t").read_text()
    assert table_after(text, "How it was made") == [["machine", "m"], ["clip", "a; b"]]
    assert table_after(text, "Settings of the methods") == [
        ["dense", "—", "—"],
        ["one", "0.1", "4"],
        ["two", "0.2", "—"],
    ]
    markdown = write_markdown(scores, tmp_path / "a.md", title="t").read_text()
    assert "### Settings of the methods\n\n| method | tau | every |" in markdown


def test_pictures_that_cannot_be_shown(tmp_path):
    with pytest.raises(EvaluationError, match=r"missing\.png' cannot be read \(No such file"):
        write_report(evaluation(), tmp_path, title="t", figures=[Figure(picture=tmp_path / "missing.png", title="a")])
    with pytest.raises(EvaluationError, match="3 bytes is neither PNG, JPEG nor SVG"):
        write_report(evaluation(), tmp_path, title="t", examples=[Example(picture=b"GIF", caption="a")])
    assert not (tmp_path / "report.html").exists()


def test_svg_and_jpeg_are_embedded(tmp_path):
    svg = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
    pictures = [Figure(picture=svg, title="s"), Figure(picture=b"\xff\xd8\xff\xe0 jpeg", title="j")]
    page = Page(write_report(evaluation(), tmp_path, title="t", figures=pictures).read_text())
    kinds = [attrs["src"].split(";")[0] for tag, attrs in page.tags if tag == "img"]
    assert kinds == ["data:image/svg+xml", "data:image/jpeg"]


def test_the_markdown_report(tmp_path):
    picture = tmp_path / "pics" / "a (1).png"
    picture.parent.mkdir()
    picture.write_bytes(png())
    path = write_markdown(
        evaluation(),
        tmp_path / "out" / "report.md",
        title="On <b>",
        notes=["- a note"],
        figures=[Figure(picture=picture, title="One [1]", caption="shown"), Figure(picture=png(), title="Bytes")],
        facts={"command": "a|b"},
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# On \\<b>"
    assert "\\- a note" in lines
    assert "![One (1)](<../pics/a (1).png>)" in lines
    assert not any("Bytes" in line for line in lines)
    assert [line for line in lines if line.startswith("## ")] == [
        "## Methods", "## Frontiers", "## Figures", "## Clip by clip", "## How it was made",
    ]  # fmt: skip
    assert [line for line in lines if line.startswith("### ")][1:] == [
        "### frontier@1%", "### frontier@3%", "### frontier@far", "### bare",
    ]  # fmt: skip
    assert "| command | a\\|b |" in lines
