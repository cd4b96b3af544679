"""The report: every table says what the link and TCP were like, and what is measured is not mixed with a replay."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.live.figures import live_figures
from fluxshard.evaluate.end_to_end.live.methods import METHODS, LiveMethod
from fluxshard.evaluate.end_to_end.live.report import Measured, write_report
from fluxshard.evaluate.end_to_end.live.runs import LiveOptions
from tests.unit.evaluate.end_to_end.live.small_runs import FACTS, answers, row, run

DESCRIPTION = {
    "command": "the command", "weights": "net", "size": "32x48", "clips": ["clip"], "measure": "miou",
    "settings": {"scale": 1.5}, "versions": "fluxshard 0", "machine": "a processor",
}  # fmt: skip
SHOWN = (METHODS[0], METHODS[1], METHODS[-1])


def measured(method: LiveMethod, tier: str, slowdown: float, **facts: object) -> Measured:
    if method.place == "edge":
        facts |= {"link": None, "mbps": None, "server_mib": None}
    one = run(answers(row(0), row(1, latency_ms=200.0)), method=method, tier=tier, slowdown=slowdown, **facts)
    return Measured(run=one, figures=live_figures(one, [np.ones(2)], [np.ones(2)], 1000))


def all_of(**facts: object) -> list[Measured]:
    return [
        measured(method, tier, slowdown, **facts)
        for tier in ("low", "uplink")
        for slowdown in (16.0, 1.0)
        for method in SHOWN
    ]


def test_pages(tmp_path: Path) -> None:
    path = write_report(all_of(), LiveOptions(methods=SHOWN), tmp_path, DESCRIPTION)
    html, text = path.read_text(), (tmp_path / "report.md").read_text()
    HTMLParser().feed(html)
    drawn = {one.name for one in (tmp_path / "figures").iterdir()}
    assert drawn == {"parts_16x.png", "tails_16x.png", "parts_1x.png", "tails_1x.png"}
    assert html.count("data:image/png") == 4 and "the command" in text
    tables = 2 * 2 * 3  # tiers, slowdowns, and what a table is of
    for said in ("TCP: cubic, initcwnd the kernel's, slow start after idle off", "queue 66 kB", "15.0 Mbit/s"):
        assert text.count(said) == tables, said
    for method in SHOWN:
        assert text.count(f"| {method.name} |") == tables, method.name
    assert "## low, edge 16x slower" in text and "## uplink, edge as fast as this machine" in text
    assert "modelled" not in text and "load was 1.5" in text
    body = json.loads((tmp_path / "results.json").read_text())
    alone = next(one for one in body["runs"] if one["method"] == METHODS[0].name)
    assert alone["server_mib"] is None and alone["mean_ms"] == 150


def test_a_shaper_is_called_one(tmp_path: Path) -> None:
    write_report(all_of(link="shaper"), LiveOptions(methods=SHOWN), tmp_path, DESCRIPTION)
    assert (tmp_path / "report.md").read_text().count("a SHAPER in user space") == 12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"congestion_control": "bbr", "initcwnd": 32}, "TCP: bbr, initcwnd 32"),
        ({"tcp": FACTS["tcp"] | {"slow_start_after_idle": None, "send_bytes": None}}, "idle unknown, send buffer unkn"),
    ],
)
def test_settings_of_tcp(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    write_report(all_of(**changes), LiveOptions(methods=SHOWN), tmp_path, DESCRIPTION)
    assert said in (tmp_path / "report.md").read_text()
