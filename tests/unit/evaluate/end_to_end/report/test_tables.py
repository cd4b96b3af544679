"""Tables: our figures, with the paper's beside them."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.end_to_end.entrants import (
    ANYTIME,
    EDGE_ONLY,
    ENTRANTS,
    OFFLOAD,
    PAPERS,
    PLANNED,
    PLANNED_RAW,
    TOGETHER,
)
from fluxshard.evaluate.end_to_end.report.goals import goals_table
from fluxshard.evaluate.end_to_end.report.results import Results
from fluxshard.evaluate.end_to_end.report.tables import (
    ablation_table,
    content_table,
    edges_table,
    extremes_table,
    latency_table,
    memory_table,
    methods_table,
    parts_table,
    ratio_table,
    regret_table,
    sensitivity_table,
)
from fluxshard.evaluate.end_to_end.workload import SEG
from fluxshard.evaluate.report.text_table import Table
from tests.unit.evaluate.end_to_end.report.small_results import CUT, STILL, description, small_results

SHOWN = [one.name for one in ENTRANTS if one.kind in ("baseline", "FluxShard")]


@pytest.fixture(scope="module")
def results() -> Results:
    return small_results()


def rows(table: Table) -> dict[str, dict[str, str]]:
    """Texts by the row's name and the column's heading."""
    assert all(len(row) == len(table.headings) for row in table.rows)
    return {row[0].text: dict(zip(table.headings, (cell.text for cell in row), strict=True)) for row in table.rows}


def test_latency(results: Results) -> None:
    found = rows(latency_table(results, "medium"))
    assert list(found) == [*SHOWN, f"{ANYTIME} *"]
    assert found[EDGE_ONLY]["mean ms"] == "454.8 (446.8)" and found[EDGE_ONLY]["edge J"].endswith("(6.86)")
    assert found[PLANNED_RAW]["mean ms"].endswith("(74.1)") and "(" not in found[PLANNED]["mean ms"]
    assert found[PLANNED]["loss"] == "2.0%" and found[f"{ANYTIME} *"]["mean ms"] == "10.0"
    assert "(" not in rows(latency_table(results, "low"))[PLANNED_RAW]["edge J"]


def test_parts_add_up(results: Results) -> None:
    table = parts_table(results, "low")
    for row in table.rows:
        assert row[1].value == pytest.approx(sum(float(cell.value or 0) for cell in row[2:9]), abs=1e-6)
    assert rows(table)[EDGE_ONLY]["by cloud: ms"] == "—"


def test_ratios(results: Results) -> None:
    found = rows(ratio_table(results, "medium"))
    assert found[OFFLOAD]["Tx"] == "100.0% (100.0%)" and found[OFFLOAD]["Cloud"] == "100.0% (100.0%)"
    assert found[EDGE_ONLY]["Tx"] == "0.0%" and found["COACH"]["Comp"] == "100.0% (96.5%)"


def test_ablations(results: Results) -> None:
    found = rows(ablation_table(results, "medium"))
    assert list(found) == [PAPERS, *(one.name for one in ENTRANTS if one.kind == "ablation")]
    assert found["w/o remap"]["mean ms"].endswith("(198.1)")


def test_budgets_of_calibration(results: Results) -> None:
    table = sensitivity_table(results.sensitivity)
    assert all(len(row) == len(table.headings) for row in table.rows) and len(table.rows) == 8
    first, last = (dict(zip(table.headings, row, strict=True)) for row in (table.rows[0], table.rows[-1]))
    assert first["medium"].text == PAPERS and first["mean ms"].text.endswith("(74.8)")
    assert (
        first["r"].text == "0.67"
        and first["Comp"].text.endswith("(40.7%)")
        and first["edge J"].text.endswith("(0.891)")
    )
    assert first["loss, calibrated on"].text == "3.0%" and first["Comp, calibrated on"].text == "—"
    assert last["medium"].text == PLANNED_RAW and last["budget (1 - alpha)"].text == "5.0%" and last["r"].text == "—"
    assert not any("(" in row[8].text for row in sensitivity_table(small_results(SEG).sensitivity).rows)


def test_a_still_clip_and_a_cut(results: Results) -> None:
    still, cut = (
        extremes_table([one for one in results.extremes if one.clip is clip]) for clip in (STILL, CUT)
    )  # fmt: skip
    assert still.headings[0] == "still, medium" and "at most" not in still.headings
    found = rows(cut)
    assert list(rows(still)) == list(found) == SHOWN
    assert found[OFFLOAD]["its work"] == "100.0%" and found[OFFLOAD]["kB at the cut"] == "0.2"
    assert found[EDGE_ONLY]["kB at the cut"] == "—" and found[PLANNED]["loss after it"] == "2.0%"


def test_memory() -> None:
    found = rows(memory_table(description()))
    assert found["planned x0.75"] == {
        "method": "planned x0.75", "caches MB": "25.0", "peak MiB": "350", "over PyTorch MiB": "50"
    }  # fmt: skip


def test_edges(results: Results) -> None:
    found = rows(edges_table(results, "medium"))
    assert list(found) == list(TOGETHER)
    assert found[OFFLOAD]["1 edge: ms"].endswith("(289.8)") and found[OFFLOAD]["3 edges: ms"].endswith("(526.6)")
    assert found[OFFLOAD]["latency at 3"].endswith("%")


def test_regret(results: Results) -> None:
    found = rows(regret_table(results, "raw"))
    assert found["greedy oracle"]["medium"].split(" / ")[1] == "+0.0"
    assert found["optimum"]["low"].split(" / ")[2] == "+0.0"


def test_what_was_recorded() -> None:
    assert rows(methods_table(description()))["jpeg"]["loss"] == "10.0%"
    assert rows(content_table(description()))["other"]["work at age 4"] == "40.0%"


def test_goals_say_what_is_met(results: Results) -> None:
    table = goals_table(results)
    verdicts = {(row[0].text, row[1].text): row[4].text for row in table.rows}
    assert verdicts[f"'{PLANNED}': loss, %", "low"] == "met"
    assert verdicts[f"'{PLANNED_RAW}' against the paper: mean latency, ms", "medium"] == "met"
    growth = [text for text, _ in verdicts if "from 1 to 3 edges" in text]
    assert len(growth) == 4
    for row in table.rows:
        ours, aim = float(row[2].value or 0), float(row[3].value or 0)
        assert (row[4].text == "met") == (ours <= aim)
        assert row[4].text == "met" or row[4].text.startswith("missed by ")
    assert not any("edges" in row[0].text for row in goals_table(small_results(SEG)).rows)
