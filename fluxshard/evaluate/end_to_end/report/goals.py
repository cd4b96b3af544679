"""What the replay is to reach, and whether it does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from fluxshard.evaluate.end_to_end.entrants import CARRIED, ENTRANTS, PLANNED, PLANNED_RAW
from fluxshard.evaluate.end_to_end.figures import MethodFigures
from fluxshard.evaluate.end_to_end.paper import paper_figures
from fluxshard.evaluate.end_to_end.report.results import Results
from fluxshard.evaluate.report.text_table import Cell, Table, words

MOST_LOSS = 0.03
# growth that is allowed for poses: number of edges, of latency and of energy
_GROWTH = ((3, 0.28, 0.11), (8, 0.98, None))


def goals_table(results: Results) -> Table:
    """One row per goal: what is asked for, what there is, and "met" or by how much it is missed."""
    rows = [*_lowest(results), *_papers(results), *_edges(results)]
    return Table(
        headings=("goal", "tier", "ours", "aim", ""), numeric=(False, False, True, True, False), rows=tuple(rows)
    )


def _row(goal: str, tier: str, ours: float, aim: float, text: str) -> tuple[Cell, ...]:
    """A row of a value that is to be no higher than an aim."""
    verdict = "met" if ours <= aim else f"missed by {100 * (ours / aim - 1):.1f}%"
    return (words(goal), words(tier), Cell(text.format(ours), ours), Cell(text.format(aim), aim), words(verdict))


def _lowest(results: Results) -> list[tuple[Cell, ...]]:
    """The least mean and 95% quantile of all methods that lose no more than is allowed, per tier."""
    rows = []
    for name, tier in itertools.product((PLANNED, CARRIED), results.tiers):
        own = results.methods[tier, name]
        if own.loss is not None:
            rows.append(_row(f"'{name}': loss, %", tier, 100 * own.loss, 100 * MOST_LOSS, "{:.1f}"))
        for label, key in (("mean", "mean_ms"), ("p95", "p95_ms")):
            best = min(_baselines(results, tier), key=lambda each: float(getattr(each[1], key)))
            goal = f"'{name}': {label} in ms, against the best baseline, '{best[0]}'"
            rows.append(_row(goal, tier, getattr(own, key), getattr(best[1], key), "{:.1f}"))
    return rows


def _baselines(results: Results, tier: str) -> Sequence[tuple[str, MethodFigures]]:
    """Those that lose no more than is allowed; all, where nothing is known of accuracy."""
    found = [(one.name, results.methods[tier, one.name]) for one in ENTRANTS if one.kind == "baseline"]
    accurate = [each for each in found if each[1].loss is None or each[1].loss <= MOST_LOSS]
    return accurate or found


def _papers(results: Results) -> list[tuple[Cell, ...]]:
    """At or below the paper's own figures, with its payload."""
    rows = []
    for tier in results.tiers:
        own, paper = results.methods[tier, PLANNED_RAW], paper_figures(results.options.workload.name, tier, "FluxShard")
        for label, ours, aim, text in (
            ("mean latency, ms", own.mean_ms, paper.latency_ms, "{:.1f}"),
            ("edge's energy, J", own.energy_j, paper.energy_j, "{:.2f}"),
            ("Tx, %", 100 * own.tx, None if paper.tx is None else 100 * paper.tx, "{:.1f}"),
            ("Comp, %", 100 * own.compute, None if paper.compute is None else 100 * paper.compute, "{:.1f}"),
        ):
            if aim is not None:
                rows.append(_row(f"'{PLANNED_RAW}' against the paper: {label}", tier, ours, aim, text))
    return rows


def _edges(results: Results) -> list[tuple[Cell, ...]]:
    """Growth from one edge to several, for poses."""
    rows = []
    if results.options.workload.name != "pose":
        return []
    for tier in results.tiers:
        for name in (PLANNED_RAW, PLANNED):
            for edges, latency, energy in _GROWTH:
                one, several = (results.together.get((tier, name, count)) for count in (1, edges))
                if one is None or several is None:
                    continue
                grown = 100 * (several.mean_ms / one.mean_ms - 1)
                rows.append(_row(f"'{name}': latency from 1 to {edges} edges, %", tier, grown, 100 * latency, "{:.1f}"))
                if energy is not None:
                    grown = 100 * (several.energy_j / one.energy_j - 1)
                    rows.append(
                        _row(f"'{name}': energy from 1 to {edges} edges, %", tier, grown, 100 * energy, "{:.1f}")
                    )
    return rows
