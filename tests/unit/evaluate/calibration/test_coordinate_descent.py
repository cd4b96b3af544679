"""The search for thresholds on surfaces whose best point is found by trying all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.evaluate.calibration.coordinate_descent import (
    Dimension,
    MeasuredPoint,
    Point,
    coordinate_descent,
    pareto,
)

VALUES = tuple(float(value) for value in range(8))


def dimensions(*starts: int, values: tuple[float, ...] = VALUES) -> tuple[Dimension, ...]:
    return tuple(Dimension(f"d{axis}", values, start) for axis, start in enumerate(starts))


def all_points(dims: tuple[Dimension, ...]) -> list[Point]:
    names = [dimension.name for dimension in dims]
    return [
        dict(zip(names, values, strict=True)) for values in itertools.product(*(dimension.values for dimension in dims))
    ]


class Surface:
    """Work and accuracy as functions of a point; keeps what was measured."""

    def __init__(self, work: Callable[[Point], float], accuracy: Callable[[Point], float] = lambda _: 1.0) -> None:
        self._work, self._accuracy = work, accuracy
        self.measured: list[tuple[float, ...]] = []

    def __call__(self, point: Point) -> tuple[float, float]:
        self.measured.append(tuple(point.values()))
        return self.of(point)

    def of(self, point: Point) -> tuple[float, float]:
        return self._work(point), self._accuracy(point)


def bowl(*middle: float) -> Callable[[Point], float]:
    """Separable and convex, with its least work in the middle."""
    return lambda point: 1 + sum((value - at) ** 2 for value, at in zip(point.values(), middle, strict=True))


@given(
    starts=st.tuples(*[st.integers(0, 7)] * 3),
    middle=st.tuples(*[st.integers(0, 7)] * 3),
    weights=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_finds_the_least_work_of_a_separable_convex_surface(
    starts: tuple[int, ...], middle: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    dims = dimensions(*starts)
    surface = Surface(
        lambda point: sum(w * abs(v - m) for v, m, w in zip(point.values(), middle, weights, strict=True))
    )
    best, seen = coordinate_descent(dims, surface, 0.5, most_points=1000)
    assert best is not None and best.work == min(surface.of(point)[0] for point in all_points(dims)) == 0
    assert tuple(best.point.values()) == middle
    assert len(surface.measured) == len(set(surface.measured)) == len(seen) < 8**3 / 4


@pytest.mark.parametrize("starts", list(itertools.product((0, 3, 7), repeat=2)))
@pytest.mark.parametrize("limit", [(5, 2), (0, 0), (7, 7), (1, 6)])
def test_finds_the_constrained_optimum_from_any_start(starts: tuple[int, int], limit: tuple[int, int]) -> None:
    """Thresholds as they are: work falls and accuracy is lost with each, and beyond a limit much is lost."""

    def work(point: Point) -> float:
        return 1 / (1 + 2 * point["d0"]) + 1 / (1 + point["d1"])

    def accuracy(point: Point) -> float:
        return 1 - sum(max(0.0, value - at) for value, at in zip(point.values(), limit, strict=True)) / 10

    dims = dimensions(*starts)
    surface = Surface(work, accuracy)
    allowed = [surface.of(point) for point in all_points(dims)]
    best, _ = coordinate_descent(dims, surface, 0.99, most_points=1000)
    assert best is not None
    assert best.work == min(work for work, accuracy in allowed if accuracy >= 0.99)
    assert tuple(best.point.values()) == limit


def test_a_budget_that_cannot_be_met_walks_towards_accuracy() -> None:
    def accuracy(point: Point) -> float:
        return 0.9 - 0.05 * (abs(point["d0"] - 2) + abs(point["d1"] - 6))

    surface = Surface(lambda point: 10 - point["d0"], accuracy)
    best, seen = coordinate_descent(dimensions(7, 0), surface, 0.95)
    assert best is None
    assert max(seen, key=lambda point: point.accuracy).point == {"d0": 2, "d1": 6}
    assert seen[0].point == {"d0": 7, "d1": 0} and len(seen) < 40


def test_among_points_that_miss_the_budget_alike_less_work_is_better() -> None:
    best, seen = coordinate_descent(dimensions(4), Surface(lambda point: point["d0"], lambda _: 0.5), 0.9)
    assert best is None and min(seen, key=lambda point: point.work).point == {"d0": 0}


def test_measured_points_are_not_measured_again() -> None:
    surface = Surface(bowl(6, 1))
    reported: list[MeasuredPoint] = []
    best, seen = coordinate_descent(dimensions(3, 3), surface, 0.5, on_point=reported.append)
    assert [tuple(point.point.values()) for point in reported] == surface.measured and reported == seen
    again = Surface(bowl(6, 1))
    half = seen[: len(seen) // 2]
    assert coordinate_descent(dimensions(3, 3), again, 0.5, measured=half) == (best, seen)
    assert again.measured == surface.measured[len(half) :]
    untouched = Surface(bowl(6, 1))
    assert coordinate_descent(dimensions(3, 3), untouched, 0.5, measured=seen, most_points=0) == (best, seen)
    assert untouched.measured == []


def test_a_measured_point_off_the_walk_may_be_the_best() -> None:
    """Two valleys: the walk ends in the nearer one, an earlier search had seen the deeper one."""
    surface = Surface(lambda point: abs(point["d0"] - 1) + 1 if point["d0"] < 4 else 6 - point["d0"])
    earlier = MeasuredPoint({"d0": 6.0}, *surface.of({"d0": 6.0}))
    assert coordinate_descent(dimensions(2), surface, 0.5)[0] == MeasuredPoint({"d0": 1.0}, 1.0, 1.0)
    assert coordinate_descent(dimensions(2), surface, 0.5, measured=[earlier])[0] == earlier


@pytest.mark.parametrize("most", [0, 1, 2, 5, 9])
def test_stops_after_most_points(most: int) -> None:
    surface = Surface(bowl(7, 7))
    best, seen = coordinate_descent(dimensions(0, 0), surface, 0.5, most_points=most)
    assert len(surface.measured) == len(seen) == most
    if most == 0:
        assert best is None
    else:
        assert best is not None and best.work == min(point.work for point in seen)


def test_exactly_the_budget_is_enough() -> None:
    surface = Surface(lambda point: 10 - point["d0"], lambda point: 1 - point["d0"] / 8)
    best, _ = coordinate_descent(dimensions(0), surface, 0.5)
    assert best is not None and best.point == {"d0": 4}


def test_points_without_accuracy_are_avoided() -> None:
    """NaN is no accuracy at all: walked away from, never walked into, and never the result."""
    surface = Surface(lambda point: 10 - point["d0"], lambda point: math.nan if point["d0"] >= 5 else 0.8)
    best, seen = coordinate_descent(dimensions(3), surface, 0.5)
    assert best is not None and best.point == {"d0": 4}
    assert [point.point["d0"] for point in seen] == [3, 4, 5]
    cheaper_down = Surface(lambda point: point["d0"], lambda point: math.nan if point["d0"] >= 5 else 0.8)
    best, _ = coordinate_descent(dimensions(7), cheaper_down, 0.5)
    assert best is not None and best.point == {"d0": 0}
    best, seen = coordinate_descent(dimensions(7), Surface(lambda point: point["d0"], lambda _: math.nan), 0.5)
    assert best is None and len(seen) == 8


@given(st.lists(st.integers(0, 5), min_size=64, max_size=64), st.lists(st.integers(0, 3), min_size=64, max_size=64))
def test_same_surface_same_walk(works: list[int], accuracies: list[int]) -> None:
    """On any surface, plateaus and all: it ends, twice alike, where no single step helps."""

    def index(point: Point) -> int:
        return int(8 * point["d0"] + point["d1"])

    def surface() -> Surface:
        return Surface(lambda point: works[index(point)] / 5, lambda point: accuracies[index(point)] / 3)

    first, second = surface(), surface()
    result = coordinate_descent(dimensions(4, 4), first, 0.6, most_points=1000)
    assert coordinate_descent(dimensions(4, 4), second, 0.6, most_points=1000) == result
    assert first.measured == second.measured
    best, seen = result
    allowed = [point for point in seen if point.accuracy >= 0.6]
    assert best == min(allowed, key=lambda point: point.work, default=None)
    if best is not None:
        own = tuple(best.point.values())
        beside = [point for point in allowed if math.dist(own, tuple(point.point.values())) == 1]
        assert all(point.work >= best.work for point in beside)


def point_of(work: float, accuracy: float) -> MeasuredPoint:
    return MeasuredPoint({"x": work}, work, accuracy)


def test_front_by_hand() -> None:
    points = [
        point_of(0.5, 0.9),
        point_of(0.2, 0.6),
        point_of(0.3, 0.6),  # more work for the same accuracy
        point_of(0.5, 0.8),  # the same work for less
        point_of(0.9, 0.89),  # worse in both
        point_of(1.0, 1.0),
        point_of(0.1, math.nan),
    ]
    assert [(point.work, point.accuracy) for point in pareto(points)] == [(0.2, 0.6), (0.5, 0.9), (1.0, 1.0)]
    assert pareto([]) == [] == pareto([point_of(0.1, math.nan)])


def test_unknown_accuracy_does_not_hide_the_order_of_the_others() -> None:
    for points in itertools.permutations([point_of(0.5, 0.9), point_of(0.5, math.nan), point_of(0.5, 0.95)]):
        assert pareto(points) == [point_of(0.5, 0.95)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6) | st.just(math.nan)), max_size=20))
def test_nothing_on_the_front_is_beaten_and_everything_else_is(pairs: list[tuple[int, float]]) -> None:
    points = [point_of(work / 6, accuracy) for work, accuracy in pairs]

    def beats(one: MeasuredPoint, other: MeasuredPoint) -> bool:
        """At least as good in both, and better in one."""
        as_good = one.work <= other.work and one.accuracy >= other.accuracy
        return as_good and (one.work < other.work or one.accuracy > other.accuracy)

    front = pareto(points)
    finite = [point for point in points if not math.isnan(point.accuracy)]
    assert all(point in finite for point in front)
    assert [point.work for point in front] == sorted({point.work for point in front})
    assert not any(beats(one, other) for one in finite for other in front)
    for point in finite:
        same = any((point.work, point.accuracy) == (other.work, other.accuracy) for other in front)
        assert same or any(beats(other, point) for other in front)
