"""Calibration of propagated reuse: greedy search over thresholds in network order.

Source: the paper's section IV-D1, Eq. 11 and 12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxshard.evaluate.calibration.coordinate_descent import MeasuredPoint
from fluxshard.ir.params import Conv2d, ConvTranspose2d, Island
from fluxshard.ir.plan import LayerSpec, Plan

INPUT = "input"  # name of the stage whose threshold is on pixels (the paper's dispatch layer)
INPUT_CANDIDATES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)
CANDIDATES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)


@dataclass(frozen=True, slots=True)
class Stage:
    """One threshold of the search.

    Attributes:
      name: `INPUT`, or the name of a layer.
      candidates: thresholds in ascending order; the first is 0.
      budget: accuracy drop granted to the stage, as a fraction of the dense network's accuracy. Source: Eq. 12.
    """

    name: str
    candidates: tuple[float, ...]
    budget: float


def truncation_points(plan: Plan, most: int) -> tuple[str, ...]:
    """Layers whose outputs get thresholds: all islands with a reader, and activated convolutions.

    The convolutions are spaced evenly over the network's multiply-accumulates. Without thresholds on islands, one
    changed cell would make everything after attention or squeeze-and-excitation dense.

    Source: section IV-D1, "selected activation layers"; which ones is not in the paper.

    Args:
      plan: plan of the network.
      most: maximum number of convolutions.

    Returns:
      layer names in network order.
    """
    read = {name for layer in plan.layers for name in layer.inputs}
    islands = {
        layer.name
        for layer in plan.layers
        if isinstance(layer.params, Island) and any(name in read for name in layer.outputs)
    }
    activated = [
        layer for layer in plan.layers if layer.mode == "sparse" and layer.output in read and _is_activated(layer)
    ]
    total = sum(layer.macs for layer in activated) or 1
    picked: set[str] = set()
    done = 0
    for layer in activated:
        before, done = done, done + layer.macs
        if done * most // total > before * most // total:
            picked.add(layer.name)
    return tuple(layer.name for layer in plan.layers if layer.name in islands | picked)


def _is_activated(layer: LayerSpec) -> bool:
    """Whether the layer is a convolution with an activation in its epilogue."""
    params = layer.params
    return isinstance(params, Conv2d | ConvTranspose2d) and (params.act or params.act_after) is not None


def stages(points: Sequence[str], alpha: float, split: float) -> tuple[Stage, ...]:
    """Stages with budgets: the input first, with `split` of the budget `1 - alpha`; layers share the rest equally.

    Source: Eq. 11 and 12, with budgets as fractions of the dense network's accuracy.
    """
    total = 1 - alpha
    share = split if points else 1.0
    return (
        Stage(INPUT, INPUT_CANDIDATES, share * total),
        *(Stage(name, CANDIDATES, (1 - share) * total / len(points)) for name in points),
    )


def greedy(
    ordered: Sequence[Stage],
    evaluate: Callable[[dict[str, float]], tuple[float, float]],
    dense_accuracy: float,
    on_stage: Callable[[Stage, float, MeasuredPoint], None] = lambda _, __, ___: None,
) -> tuple[dict[str, float], MeasuredPoint, list[MeasuredPoint]]:
    """Assigns each stage in turn the largest threshold whose cumulative accuracy drop is within the cumulative budget.

    Accuracy is assumed to fall as a threshold grows, so candidates are bisected: about log2 of their number are
    measured per stage.

    Source: section IV-D1.

    Args:
      ordered: stages in network order, the input first.
      evaluate: measures thresholds by stage name as (compute ratio, accuracy); stages without one are at 0.
      dense_accuracy: accuracy that drops are relative to.
      on_stage: receives each stage, its threshold and the point measured with it.

    Returns:
      thresholds by stage name, the point measured with them, and all measured points.
    """
    chosen: dict[str, float] = {}
    measured: list[MeasuredPoint] = []

    def measure(thresholds: dict[str, float]) -> MeasuredPoint:
        point = MeasuredPoint(dict(thresholds), *evaluate(thresholds))
        measured.append(point)
        return point

    best = measure({})
    allowed = 0.0
    for stage in ordered:
        allowed += stage.budget
        least = dense_accuracy * (1 - allowed)
        low, high = 0, len(stage.candidates) - 1  # candidates[low] is within the budget; 0 always is
        while low < high:
            middle = (low + high + 1) // 2
            point = measure({**chosen, stage.name: stage.candidates[middle]})
            if point.accuracy >= least:
                low, best = middle, point
            else:
                high = middle - 1
        chosen[stage.name] = stage.candidates[low]
        on_stage(stage, stage.candidates[low], best)
    return chosen, best, measured
