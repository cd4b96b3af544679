"""Growth over one edge, computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.live.figures import Measured, live_figures
from fluxshard.evaluate.end_to_end.live.methods import METHODS, LiveMethod
from fluxshard.evaluate.end_to_end.live.sharing import draw_growth, growth_table
from fluxshard.evaluate.end_to_end.workload import EnergyModel
from tests.unit.evaluate.end_to_end.live.small_runs import answers, row, run


def shared(method: LiveMethod, edges: int, latency_ms: float) -> Measured:
    given = [answers(row(0, latency_ms=latency_ms, busy_ms=0.0)) for _ in range(edges)]
    one = run(*given, method=method, edges=edges)
    ones = [np.ones(1)] * edges
    return Measured(run=one, figures=live_figures(one, ones, ones, 1000, EnergyModel(wait_w=5.0, busy_w=1.0)))


@pytest.fixture
def group() -> list[Measured]:
    times = {1: (100.0, 50.0), 2: (150.0, 50.0), 3: (200.0, 55.0)}
    return [
        shared(method, edges, ms)
        for edges, of_methods in times.items()
        for method, ms in zip((METHODS[3], METHODS[9]), of_methods, strict=True)
    ]


def test_growth_is_over_one_edge(group: list[Measured]) -> None:
    table = growth_table(group, ("the link",))
    assert table.notes == ("the link",)
    assert table.headings == (
        "growth", "1 edge: ms", "p95", "2 edges: ms", "p95", "3 edges: ms", "p95",
        "mean at 2", "p95 at 2", "energy at 2, modelled", "mean at 3", "p95 at 3", "energy at 3, modelled",
    )  # fmt: skip
    texts = [[cell.text for cell in one] for one in table.rows]
    assert texts == [
        ["offload H.264", "100", "100", "150", "150", "200", "200", *["50.0%"] * 3, *["100.0%"] * 3],
        ["FluxShard planned, bitstream", "50", "50", "50", "50", "55", "55", *["0.0%"] * 3, *["10.0%"] * 3],
    ]


def test_all_edges_frames_count(group: list[Measured]) -> None:
    assert [one.figures.frames for one in group] == [1, 1, 2, 2, 3, 3]


def test_it_is_drawn(group: list[Measured], tmp_path: Path) -> None:
    assert draw_growth(group, "medium", tmp_path / "edges.png").stat().st_size > 0
