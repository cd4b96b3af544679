"""Rows of Table V."""

from __future__ import annotations

from fluxshard.evaluate.end_to_end.entrants import PAPERS, PLANNED_RAW
from fluxshard.evaluate.end_to_end.paper import NONE, TABLE_V
from fluxshard.evaluate.end_to_end.sensitivity.configurations import CONFIGURATIONS


def test_all_rows_of_the_paper_are_there_and_planned_reuse_at_the_same_budgets() -> None:
    papers = [(one.budget, one.split) for one in CONFIGURATIONS if one.entrant == PAPERS]
    assert papers == list(TABLE_V) and len(papers) == 5
    planned = [one for one in CONFIGURATIONS if one.entrant == PLANNED_RAW]
    assert {one.budget for one in planned} == {budget for budget, _ in papers}
    assert all(one.split is None for one in planned)
    assert len({one.label for one in CONFIGURATIONS}) == len(CONFIGURATIONS)


def test_the_papers_figures_are_of_poses() -> None:
    first, planned = CONFIGURATIONS[0], CONFIGURATIONS[-1]
    assert first.paper("pose").latency_ms == 74.8 and first.paper("pose").compute == 0.407
    assert first.paper("seg") == NONE == planned.paper("pose")
