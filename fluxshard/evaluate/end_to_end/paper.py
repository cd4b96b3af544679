"""Figures of the FluxShard paper, as its tables and text give them; what it only draws is not here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFigures:
    """Of one method on one tier; None where the paper gives no number.

    Attributes:
      latency_ms: mean.
      energy_j: of the edge, mean per frame.
      tx, compute, cloud: shares of bytes of raw frames, of dense work, of frames, 0..1.
      loss: of accuracy, relative to dense.
    """

    latency_ms: float | None = None
    energy_j: float | None = None
    tx: float | None = None
    compute: float | None = None
    cloud: float | None = None
    loss: float | None = None


NONE = PaperFigures()

# by workload, tier and method: section V-B (text), Tables II to V, Fig. 7's text
_FIGURES: Mapping[tuple[str, str, str], PaperFigures] = {
    ("seg", "low", "FluxShard"): PaperFigures(latency_ms=187, energy_j=1.59, loss=0.0202),
    ("seg", "medium", "FluxShard"): PaperFigures(latency_ms=111.7, tx=0.171, compute=0.479, cloud=0.981, loss=0.0208),
    ("seg", "high", "FluxShard"): PaperFigures(loss=0.0268),
    ("seg", "low", "Offload"): PaperFigures(latency_ms=955, energy_j=4.43, loss=0.0),
    ("seg", "medium", "Offload"): PaperFigures(tx=1.0, compute=1.0, cloud=1.0, loss=0.0),
    ("seg", "high", "Offload"): PaperFigures(loss=0.0),
    ("seg", "low", "COACH"): PaperFigures(latency_ms=312, loss=0.0540),
    ("seg", "medium", "COACH"): PaperFigures(tx=0.240, compute=0.960, cloud=0.975, loss=0.0574),
    ("seg", "high", "COACH"): PaperFigures(loss=0.0619),
    ("seg", "low", "DeltaCNN"): PaperFigures(latency_ms=525, loss=0.0158),
    ("seg", "medium", "DeltaCNN"): PaperFigures(tx=0.569, compute=0.668, cloud=0.984, loss=0.0157),
    ("seg", "high", "DeltaCNN"): PaperFigures(loss=0.0168),
    ("seg", "low", "MotionDeltaCNN"): PaperFigures(loss=0.0275),
    ("seg", "medium", "MotionDeltaCNN"): PaperFigures(tx=0.455, compute=0.657, cloud=0.980, loss=0.0284),
    ("seg", "high", "MotionDeltaCNN"): PaperFigures(loss=0.0286),
    ("seg", "medium", "w/o RFAP"): PaperFigures(latency_ms=115.0, compute=0.450, loss=0.0329),
    ("seg", "medium", "RFAP per layer"): PaperFigures(latency_ms=117.1, compute=0.619, loss=0.0175),
    ("seg", "medium", "w/o offload"): PaperFigures(latency_ms=433.9, compute=0.454, loss=0.0030),
    ("seg", "medium", "w/o sparse"): PaperFigures(latency_ms=124.9, compute=1.0, loss=0.0190),
    ("seg", "medium", "w/o remap"): PaperFigures(latency_ms=226.4, compute=0.771, loss=0.0107),
    ("pose", "low", "FluxShard"): PaperFigures(latency_ms=134, loss=0.0245),
    ("pose", "medium", "FluxShard"): PaperFigures(
        latency_ms=74.1, energy_j=0.891, tx=0.089, compute=0.407, cloud=0.956, loss=0.0256
    ),
    ("pose", "high", "FluxShard"): PaperFigures(loss=0.0272),
    ("pose", "low", "Offload"): PaperFigures(latency_ms=832, loss=0.0),
    ("pose", "medium", "Offload"): PaperFigures(latency_ms=289.8, tx=1.0, compute=1.0, cloud=1.0, loss=0.0),
    ("pose", "high", "Offload"): PaperFigures(loss=0.0),
    ("pose", "low", "COACH"): PaperFigures(loss=0.0537),
    ("pose", "medium", "COACH"): PaperFigures(tx=0.241, compute=0.965, cloud=0.934, loss=0.0671),
    ("pose", "high", "COACH"): PaperFigures(loss=0.0719),
    ("pose", "low", "DeltaCNN"): PaperFigures(loss=0.0275),
    ("pose", "medium", "DeltaCNN"): PaperFigures(tx=0.317, compute=0.546, cloud=0.964, loss=0.0272),
    ("pose", "high", "DeltaCNN"): PaperFigures(loss=0.0275),
    ("pose", "low", "MotionDeltaCNN"): PaperFigures(loss=0.0244),
    ("pose", "medium", "MotionDeltaCNN"): PaperFigures(tx=0.289, compute=0.585, cloud=0.937, loss=0.0271),
    ("pose", "high", "MotionDeltaCNN"): PaperFigures(loss=0.0284),
    ("pose", "medium", "w/o RFAP"): PaperFigures(latency_ms=77.6, compute=0.387, loss=0.0513),
    ("pose", "medium", "RFAP per layer"): PaperFigures(latency_ms=75.6, compute=0.488, loss=0.0187),
    ("pose", "medium", "w/o offload"): PaperFigures(latency_ms=252.4, compute=0.411, loss=0.0294),
    ("pose", "medium", "w/o sparse"): PaperFigures(latency_ms=92.0, compute=1.0, loss=0.0023),
    ("pose", "medium", "w/o remap"): PaperFigures(latency_ms=198.1, compute=0.773, loss=0.1061),
}
# Table I: dense on the edge, ms and J, the same on every tier
_EDGE_ONLY = {
    "seg": PaperFigures(latency_ms=537.5, energy_j=7.61, compute=1.0, loss=0.0),
    "pose": PaperFigures(latency_ms=446.8, energy_j=6.86, compute=1.0, loss=0.0),
}
# Fig. 7: mean latency at 1, 2 and 3 edges, medium bandwidth, where the text gives it
GROWTH: Mapping[tuple[str, str], Mapping[int, float]] = {
    ("pose", "FluxShard"): {1: 74.1, 3: 95.2},
    ("pose", "Offload"): {1: 289.8, 3: 526.6},
}

# Table V: poses, medium bandwidth; by accuracy budget (alpha) and the share of it that is the dispatch layer's (r)
TABLE_V: Mapping[tuple[float, float], PaperFigures] = {
    (0.03, 0.67): PaperFigures(latency_ms=74.8, energy_j=0.891, tx=0.089, compute=0.407, loss=0.0258),
    (0.03, 0.50): PaperFigures(latency_ms=75.3, energy_j=0.899, tx=0.090, compute=0.390, loss=0.0275),
    (0.03, 0.90): PaperFigures(latency_ms=71.5, energy_j=0.874, tx=0.069, compute=0.451, loss=0.0265),
    (0.01, 0.67): PaperFigures(latency_ms=96.1, energy_j=1.111, tx=0.124, compute=0.520, loss=0.0092),
    (0.05, 0.67): PaperFigures(latency_ms=72.8, energy_j=0.873, tx=0.069, compute=0.340, loss=0.0481),
}


def paper_figures(workload: str, tier: str, method: str) -> PaperFigures:
    """What the paper reports of a method; `NONE` where it says nothing.

    Args:
      workload: "seg" or "pose".
      tier: as `link_trace.tiers` names it.
      method: as the paper names it; "Edge only" is Table I's dense network on the edge.
    """
    if method == "Edge only" and tier != "uplink":
        return _EDGE_ONLY[workload]
    return _FIGURES.get((workload, tier, method), NONE)
