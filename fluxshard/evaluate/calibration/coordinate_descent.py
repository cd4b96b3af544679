"""Searching thresholds: the least work whose accuracy stays within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Point = dict[str, float]
# receives a point, returns (work, accuracy)
Evaluate = Callable[[Point], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One number that is searched for.

    Attributes:
      name: of the number.
      values: allowed, rising; neighbours are tried.
      start: index of the value to start from.
    """

    name: str
    values: tuple[float, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Visited:
    """A point and what it gave.

    Attributes:
      point: by dimension.
      work: compute ratio.
      accuracy: in the search's own measure.
    """

    point: Mapping[str, float]
    work: float
    accuracy: float


def coordinate_descent(
    dimensions: Sequence[Dimension],
    evaluate: Evaluate,
    least_accuracy: float,
    *,
    known: Sequence[Visited] = (),
    most_points: int = 80,
    on_point: Callable[[Visited], None] = lambda _: None,
) -> tuple[Visited | None, list[Visited]]:
    """Walks along one dimension after the other to the least work that is accurate enough.

    From the start, each dimension in turn is moved by one step, then on in the direction that helped, until no single
    step helps any more. Points that are not accurate enough are compared by how much they fall short: so a start that
    misses the budget walks towards it. Deterministic: the same dimensions and results give the same walk.

    Args:
      dimensions: in the order in which they are tried.
      evaluate: measures a point.
      least_accuracy: what must be reached.
      known: results of an earlier search; they are not measured again.
      most_points: stops after so many measurements.
      on_point: called after each measurement, to keep it.

    Returns:
      the best point that is accurate enough, or None; and all points, known ones first.
    """
    seen = {_key(dimensions, visited.point): visited for visited in known}
    measured = 0

    def visit(indices: tuple[int, ...]) -> Visited | None:
        nonlocal measured
        point = {d.name: d.values[i] for d, i in zip(dimensions, indices, strict=True)}
        key = _key(dimensions, point)
        if key not in seen:
            if measured >= most_points:
                return None
            measured += 1
            visited = Visited(point, *evaluate(point))
            seen[key] = visited
            on_point(visited)
        return seen[key]

    def cost(visited: Visited) -> tuple[float, float]:
        missing = max(0.0, least_accuracy - visited.accuracy)
        if math.isnan(visited.accuracy):
            missing = math.inf
        return missing, visited.work

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
                    visited = visit(candidate)
                    assert best is not None
                    if visited is None or cost(visited) >= cost(best):
                        break
                    indices, best, moved, improved = candidate, visited, True, True
                if moved:
                    break  # the other way leads back
    feasible = [visited for visited in seen.values() if visited.accuracy >= least_accuracy]
    return min(feasible, key=lambda visited: visited.work, default=None), list(seen.values())


def pareto(visited: Sequence[Visited]) -> list[Visited]:
    """Points that no other beats in both work and accuracy, by rising work."""
    front: list[Visited] = []
    known = [point for point in visited if not math.isnan(point.accuracy)]  # NaN would spoil the order of others
    for point in sorted(known, key=lambda v: (v.work, -v.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def _key(dimensions: Sequence[Dimension], point: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(float(point[d.name]) for d in dimensions)
