"""Coordinate descent over discrete thresholds: the least compute ratio whose accuracy stays within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Point = dict[str, float]
# maps a point to (compute ratio, accuracy)
Evaluate = Callable[[Point], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One coordinate of the search.

    Attributes:
      name: key of the coordinate in a point.
      values: allowed values in ascending order; a step goes to a neighbour.
      start: index into `values` of the first point.
    """

    name: str
    values: tuple[float, ...]
    start: int


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """A point with its measurements.

    Attributes:
      point: coordinates by dimension name.
      work: compute ratio.
      accuracy: accuracy in the measure of the search; NaN where there was nothing to measure.
    """

    point: Mapping[str, float]
    work: float
    accuracy: float


def coordinate_descent(
    dimensions: Sequence[Dimension],
    evaluate: Evaluate,
    least_accuracy: float,
    *,
    measured: Sequence[MeasuredPoint] = (),
    most_points: int = 80,
    on_point: Callable[[MeasuredPoint], None] = lambda _: None,
) -> tuple[MeasuredPoint | None, list[MeasuredPoint]]:
    """Minimises the compute ratio subject to a lower bound on accuracy, one dimension at a time.

    From the start, each dimension in turn moves by one step and on in the direction that improves, until no single step
    improves. Infeasible points are ordered by how far they miss the bound, so an infeasible start moves towards it. The
    path is deterministic: the same dimensions and measurements visit the same points.

    Args:
      dimensions: coordinates, in the order in which they are varied.
      evaluate: measures a point.
      least_accuracy: lower bound on accuracy.
      measured: results of an earlier search; these points are not evaluated again.
      most_points: maximum number of evaluations.
      on_point: called after each evaluation.

    Returns:
      the feasible point of least work, None where no point is feasible; and all points, those of `measured` first.
    """
    seen = {_key(dimensions, entry.point): entry for entry in measured}
    evaluations = 0

    def visit(indices: tuple[int, ...]) -> MeasuredPoint | None:
        nonlocal evaluations
        point = {d.name: d.values[i] for d, i in zip(dimensions, indices, strict=True)}
        key = _key(dimensions, point)
        if key not in seen:
            if evaluations >= most_points:
                return None
            evaluations += 1
            entry = MeasuredPoint(point, *evaluate(point))
            seen[key] = entry
            on_point(entry)
        return seen[key]

    def cost(entry: MeasuredPoint) -> tuple[float, float]:
        missing = max(0.0, least_accuracy - entry.accuracy)
        if math.isnan(entry.accuracy):
            missing = math.inf
        return missing, entry.work

    indices = tuple(d.start for d in dimensions)
    best = visit(indices)
    improved = best is not None
    while improved:
        improved = False
        for axis, dimension in enumerate(dimensions):
            for direction in (1, -1):
                moved = False
                while 0 <= indices[axis] + direction < len(dimension.values):
                    candidate = (*indices[:axis], indices[axis] + direction, *indices[axis + 1 :])
                    entry = visit(candidate)
                    assert best is not None
                    if entry is None or cost(entry) >= cost(best):
                        break
                    indices, best, moved, improved = candidate, entry, True, True
                if moved:
                    break  # the opposite direction leads back
    feasible = [entry for entry in seen.values() if entry.accuracy >= least_accuracy]
    return min(feasible, key=lambda entry: entry.work, default=None), list(seen.values())


def pareto(points: Sequence[MeasuredPoint]) -> list[MeasuredPoint]:
    """Pareto front of work and accuracy, in ascending order of work; points of unknown accuracy are left out."""
    front: list[MeasuredPoint] = []
    finite = [point for point in points if not math.isnan(point.accuracy)]  # comparisons with NaN would break the order
    for point in sorted(finite, key=lambda entry: (entry.work, -entry.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def _key(dimensions: Sequence[Dimension], point: Mapping[str, Any]) -> tuple[float, ...]:
    """Coordinates in the order of the dimensions."""
    return tuple(float(point[d.name]) for d in dimensions)
