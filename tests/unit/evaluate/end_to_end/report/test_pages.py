"""The report: every table in Markdown and HTML, every figure in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from fluxshard.evaluate.end_to_end.entrants import ANYTIME, ENTRANTS, H264, PLANNED
from fluxshard.evaluate.end_to_end.report.pages import write_pages
from tests.unit.evaluate.end_to_end.report.small_results import description, small_results


def test_pages(tmp_path: Path) -> None:
    results = small_results()
    path = write_pages(results, tmp_path, description())
    html, text = path.read_text(), (tmp_path / "report.md").read_text()
    HTMLParser().feed(html)
    drawn = {one.name for one in (tmp_path / "figures").iterdir()}
    assert drawn == {"latency.png", "parts.png", "tails.png", "work_medium.png", "edges_medium.png"}
    assert html.count("data:image/png") == len(drawn) and "the command" in html and "the command" in text
    for one in ENTRANTS:
        if one.kind != "oracle":
            assert f"| {one.name} |" in text, one.name
    assert "modelled" in text and ANYTIME in text and "YOLO11m-pose at 1024x1024" in text
    body = json.loads((tmp_path / "results.json").read_text())
    by_name = {(one["tier"], one["method"]): one for one in body["methods"]}
    assert by_name["medium", PLANNED]["mean_ms"] == results.methods["medium", PLANNED].mean_ms
    assert by_name["low", H264]["edge"]["latency_ms"] is None  # never answered by the edge
    assert {one["edges"] for one in body["edges"]} == {1, 3} and body["options"]["workload"] == "pose"
    assert len(body["sensitivity"]) == 8 and {one["clip"] for one in body["extremes"]} == {"still", "cut"}
    for title in ("(Table V)", "(section V-G)", "## Memory"):
        assert title in text


def test_what_was_not_asked_for_is_left_out(tmp_path: Path) -> None:
    results = replace(small_results(), sensitivity=(), extremes=())
    write_pages(results, tmp_path, {**description(), "memory": [], "calibrated_on": None})
    text = (tmp_path / "report.md").read_text()
    for title in ("(Table V)", "(section V-G)", "## Memory"):
        assert title not in text
