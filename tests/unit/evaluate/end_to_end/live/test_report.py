"""The report: every table says what the link and TCP were like, and what is measured is not mixed with a replay."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.live.figures import Measured, live_figures
from fluxshard.evaluate.end_to_end.live.methods import METHODS, LiveMethod
from fluxshard.evaluate.end_to_end.live.options import LiveOptions
from fluxshard.evaluate.end_to_end.live.report import write_report
from fluxshard.evaluate.end_to_end.workload import SEG
from tests.unit.evaluate.end_to_end.live.small_runs import FACTS, answers, row, run, uncounted

DESCRIPTION = {
    "command": "the command", "weights": "net", "size": "32x48", "clips": ["clip"], "measure": "miou",
    "settings": {"scale": 1.5}, "versions": "fluxshard 0", "machine": "a processor",
}  # fmt: skip
SHOWN = (METHODS[0], METHODS[1], METHODS[-1])


def measured(
    method: LiveMethod,
    tier: str,
    slowdown: float,
    *,
    edges: int | None = None,
    latency_ms: float = 150.0,
    **facts: object,
) -> Measured:
    if method.place == "edge":
        facts |= {"link": None, "mbps": None, "server_mib": None}
    given = answers(row(0, latency_ms=latency_ms - 50), row(1, latency_ms=latency_ms + 50))
    one = run(given, method=method, tier=tier, slowdown=slowdown, edges=edges, **facts)
    return Measured(run=one, figures=live_figures(one, [np.ones(2)], [np.ones(2)], 1000, SEG.energy))


def all_of(**facts: object) -> list[Measured]:
    return [
        measured(method, tier, slowdown, **facts)
        for tier in ("low", "uplink")
        for slowdown in (16.0, 1.0)
        for method in SHOWN
    ]


def test_pages(tmp_path: Path) -> None:
    path = write_report(all_of(), [], LiveOptions(methods=SHOWN), SEG.energy, tmp_path, DESCRIPTION)
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
    assert "load was 1.5" in text and "Energy was not metered: RAPL: there is none." in text
    # nothing but energy is modelled, and it is called that: in its note, and at the head of its column
    assert text.count("modelled") == 1 + 2 * 2
    assert "4.64 W while a frame is under way, and 9.52 W more while the edge is busy" in text
    assert text.count("| 20.0 | 0.89 | — |") == 2 * 2 * (len(SHOWN) - 1)  # 150 ms of 4.64 W, and 20 of 9.52
    body = json.loads((tmp_path / "results.json").read_text())
    alone = next(one for one in body["runs"] if one["method"] == METHODS[0].name)
    assert alone["server_mib"] is None and alone["mean_ms"] == 150


def test_a_shaper_is_called_one(tmp_path: Path) -> None:
    write_report(all_of(link="shaper"), [], LiveOptions(methods=SHOWN), SEG.energy, tmp_path, DESCRIPTION)
    assert (tmp_path / "report.md").read_text().count("a SHAPER in user space") == 12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"congestion_control": "bbr", "initcwnd": 32}, "TCP: bbr, initcwnd 32"),
        ({"tcp": FACTS["tcp"] | {"slow_start_after_idle": None, "send_bytes": None}}, "idle unknown, send buffer unkn"),
    ],
)
def test_settings_of_tcp(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    write_report(all_of(**changes), [], LiveOptions(methods=SHOWN), SEG.energy, tmp_path, DESCRIPTION)
    assert said in (tmp_path / "report.md").read_text()


def test_several_edges_have_tables_of_their_own(tmp_path: Path) -> None:
    shared = [
        measured(METHODS[3], "low", 16.0, edges=edges, latency_ms=latency_ms)
        for edges, latency_ms in ((1, 100.0), (2, 160.0), (3, 300.0))
    ]
    write_report(all_of(), shared, LiveOptions(methods=SHOWN), SEG.energy, tmp_path, DESCRIPTION)
    text = (tmp_path / "report.md").read_text()
    assert "## Several edges with one uplink and one server: low, edges 16x slower" in text
    assert text.count("| offload H.264, 2 edges |") == 3 and text.count("| offload H.264, 1 edge |") == 3
    assert (tmp_path / "figures" / "edges_low.png").stat().st_size > 0
    body = json.loads((tmp_path / "results.json").read_text())
    assert [(one["edges"], one["mean_ms"]) for one in body["edges"]] == [(1, 100), (2, 160), (3, 300)]
    assert len(body["runs"]) == 2 * 2 * len(SHOWN)


def test_a_meter_is_named(tmp_path: Path) -> None:
    write_report(
        all_of(meter="RAPL, 1 processor package"), [], LiveOptions(methods=SHOWN), SEG.energy, tmp_path, DESCRIPTION
    )
    text = (tmp_path / "report.md").read_text()
    assert "at its own speed, by RAPL, 1 processor package" in text and "not metered" not in text


def test_runs_that_have_not_counted_the_busy_time_are_named(tmp_path: Path) -> None:
    runs = all_of()
    old = uncounted(answers(row(0), row(1)))
    runs[1] = replace(runs[1], run=replace(runs[1].run, answers=(old,)))
    write_report(runs, [], LiveOptions(methods=SHOWN), SEG.energy, tmp_path, DESCRIPTION)
    assert f"have not counted the edge's busy time ({SHOWN[1].name})" in (tmp_path / "report.md").read_text()
