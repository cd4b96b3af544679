"""Rows of the paper's Table V, and of planned reuse at the same budgets."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.evaluate.end_to_end.entrants import PAPERS, PLANNED_RAW
from fluxshard.evaluate.end_to_end.paper import NONE, TABLE_V, PaperFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How thresholds are calibrated.

    Attributes:
      entrant: name of the method that is replayed with them.
      budget: accuracy that may be lost, relative to the dense network (the paper's alpha, in its Table V).
      split: share of the budget for the threshold of pixels (the paper's r); None where budgets are not shared.
    """

    entrant: str
    budget: float
    split: float | None = None

    @property
    def label(self) -> str:
        """Of the thresholds, among the methods of an evaluation."""
        share = "" if self.split is None else f" r={self.split:g}"
        return f"{'planned' if self.split is None else 'propagated'} alpha={self.budget:g}{share}"

    def paper(self, workload: str) -> PaperFigures:
        """What the paper reports; `NONE` where it says nothing. Its table is of poses on the medium tier."""
        return TABLE_V.get((self.budget, self.split), NONE) if workload == "pose" and self.split is not None else NONE


CONFIGURATIONS: tuple[Configuration, ...] = (
    *(Configuration(entrant=PAPERS, budget=budget, split=split) for budget, split in TABLE_V),
    *(Configuration(entrant=PLANNED_RAW, budget=budget) for budget in (0.01, 0.03, 0.05)),
)
