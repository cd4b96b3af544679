"""Calibration of propagated reuse: the paper's greedy search. Source: section IV-D1, Eq. 11 and 12."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxshard.evaluate.calibration.coordinate_descent import Visited
from fluxshard.ir.params import Conv2d, ConvTranspose2d, Island
from fluxshard.ir.plan import LayerSpec, Plan

INPUT = "input"  # the stage of the threshold on pixels
INPUT_CANDIDATES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)
CANDIDATES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)


@dataclass(frozen=True, slots=True)
class Stage:
    """One threshold.

    Attributes:
      name: `INPUT`, or a layer's name.
      candidates: rising, the first 0.
      budget: accuracy that it may cost, as a share of the dense network's.
    """

    name: str
    candidates: tuple[float, ...]
    budget: float


def truncation_points(plan: Plan, most: int) -> tuple[str, ...]:
    """Layers whose outputs get thresholds: all islands that others read, and activations spread evenly over the work.

    Without the islands one changed cell would make dense all that follows attention, or a block of squeeze and
    excitation.

    Args:
      plan: of the network.
      most: how many layers besides the islands.

    Returns:
      names in network order.
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
    params = layer.params
    return isinstance(params, Conv2d | ConvTranspose2d) and (params.act or params.act_after) is not None


def stages(points: Sequence[str], alpha: float, split: float) -> tuple[Stage, ...]:
    """The input first, with `split` of the budget `1 - alpha`; the rest is spread evenly over the layers."""
    total = 1 - alpha
    share = split if points else 1.0
    return (
        Stage(INPUT, INPUT_CANDIDATES, share * total),
        *(Stage(name, CANDIDATES, (1 - share) * total / len(points)) for name in points),
    )


def greedy(
    planned: Sequence[Stage],
    evaluate: Callable[[dict[str, float]], tuple[float, float]],
    dense_accuracy: float,
    on_stage: Callable[[Stage, float, Visited], None] = lambda _, __, ___: None,
) -> tuple[dict[str, float], Visited, list[Visited]]:
    """Gives each stage in turn the largest threshold whose total cost so far stays within the budgets so far.

    The cost is taken to rise with the threshold, so candidates are bisected: log2 of their number is measured.

    Args:
      planned: in network order, the input first.
      evaluate: measures thresholds by stage; those not named are 0.
      dense_accuracy: what costs are measured against.
      on_stage: called with each stage, its threshold and what it gave.

    Returns:
      the thresholds, what they gave, and all that was measured.
    """
    chosen: dict[str, float] = {}
    seen: list[Visited] = []

    def visit(thresholds: dict[str, float]) -> Visited:
        visited = Visited(dict(thresholds), *evaluate(thresholds))
        seen.append(visited)
        return visited

    best = visit({})
    allowed = 0.0
    for stage in planned:
        allowed += stage.budget
        least = dense_accuracy * (1 - allowed)
        low, high = 0, len(stage.candidates) - 1  # candidates[low] is known to be allowed; 0 always is
        while low < high:
            middle = (low + high + 1) // 2
            visited = visit({**chosen, stage.name: stage.candidates[middle]})
            if visited.accuracy >= least:
                low, best = middle, visited
            else:
                high = middle - 1
        chosen[stage.name] = stage.candidates[low]
        on_stage(stage, stage.candidates[low], best)
    return chosen, best, seen
