"""Thresholds of planned reuse: dimensions, the methods they give, and the search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from fluxshard.evaluate.calibration import planned_search
from fluxshard.evaluate.calibration.coordinate_descent import Dimension, MeasuredPoint, Point
from fluxshard.evaluate.calibration.objective import Objective
from fluxshard.evaluate.calibration.planned_search import dimensions, method_at, search_key, search_planned
from fluxshard.evaluate.calibration.search_log import SearchLog
from fluxshard.evaluate.methods.method import Reuse
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.workers import Task, WorkerPool
from fluxshard.options import LevelOptions, PlannedOptions
from fluxshard.runtime.planned.levels import default_gain
from fluxshard.testing.evaluation import trace_of
from tests.unit.evaluate.calibration.pools import BEAR, COWS, HALF, OBJECT, REQUEST, objective_of, pool_of


def start_of(canvas_px: int) -> Point:
    return {dimension.name: dimension.values[dimension.start] for dimension in dimensions(canvas_px)}


def test_the_search_starts_from_the_shipped_defaults() -> None:
    method, shipped = method_at(start_of(32)), PlannedOptions()
    options = method.options.planned
    assert method.options.policy == "planned" and method.canvas_px == 0 and method.regions
    assert replace(options, levels={}) == replace(shipped, levels={})
    for stride in (1, 2, 4, 8, 16, 32, 64):
        assert options.levels[stride] == LevelOptions(gain=default_gain(stride)), stride
    assert start_of(32) == {**start_of(0), "canvas_px": 0}
    assert method_at({**start_of(32), "canvas_px": 32}).canvas_px == 32


def test_every_dimension_reaches_the_method_and_rises() -> None:
    for canvas_px in (0, 32):
        points = [start_of(canvas_px)]
        for dimension in dimensions(canvas_px):
            assert len(set(dimension.values)) == len(dimension.values) > dimension.start >= 0
            points += [
                {**points[0], dimension.name: value}
                for value in dimension.values
                if value != dimension.values[dimension.start]
            ]
        described = {repr(method_at(point).facts) for point in points}
        assert len(described) == len(points)


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dimensions instead of all, the others at their starts."""
    wanted = {"tau": ((0.01, 0.02, 0.03, 0.04), 1), "wait_frames": ((2.0, 3.0, 4.0), 0)}
    every = dimensions(0)
    monkeypatch.setattr(
        planned_search,
        "dimensions",
        lambda *_: tuple(Dimension(one.name, *wanted.get(one.name, ((one.values[one.start],), 0))) for one in every),
    )


def test_a_planned_search_finds_the_least_work_within_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Work falls with tau and with waiting; an object is lost in one of two clips from tau = 0.04 on."""
    small(monkeypatch)

    def planned(task: Task) -> PlannedOptions:
        return cast(Reuse, task.method).options.planned

    pool = pool_of(
        lambda task: [HALF] if planned(task).tau > 0.035 and task.clip == COWS else [OBJECT],
        work=lambda task: [1 - 10 * planned(task).tau - 0.1 * planned(task).wait_frames] * 5,
    )
    objective = objective_of(pool_of())
    log = SearchLog(tmp_path / "log", search_key(REQUEST, objective, 0, {}))
    reported: list[tuple[MeasuredPoint, int]] = []
    best, measured = search_planned(
        REQUEST, objective, cast(WorkerPool, pool), log, 0, on_point=lambda *one: reported.append(one)
    )
    assert best is not None and (best.point["tau"], best.point["wait_frames"]) == (0.03, 4)
    assert best.work == pytest.approx(0.3) and best.accuracy == 1
    assert [point for point, _ in reported] == measured == log.read() and [n for _, n in reported] == list(
        range(1, len(measured) + 1)
    )
    ran = len(pool.ran)
    assert search_planned(REQUEST, objective, cast(WorkerPool, pool), log, 0) == (best, measured)
    assert len(pool.ran) == ran == 2 * len(measured)  # what the log holds is not run again
    # another budget asks the same points: the object is lost, by half, in one clip of two
    cheaper, _ = search_planned(replace(REQUEST, alpha=0.4), objective, cast(WorkerPool, pool), log, 0)
    assert cheaper is not None and cheaper.point["tau"] == 0.04 and cheaper.accuracy == pytest.approx(0.5)


def test_logs_are_told_apart_by_what_results_depend_on(tmp_path: Path) -> None:
    objective = objective_of(pool_of())
    first = search_key(REQUEST, objective, 32, {"weights": "w"})
    turned = replace(REQUEST, clips=(COWS, BEAR), alpha=0.9, most_points=3)
    assert search_key(turned, objective, 32, {"weights": "w"}) == first
    longer: dict[str, Trace] = {**objective.dense, "bear": trace_of(*[[OBJECT]] * 6)}
    for other in (
        search_key(REQUEST, objective, 0, {"weights": "w"}),
        search_key(REQUEST, objective, 32, {"weights": "v"}),
        search_key(replace(REQUEST, clips=(BEAR,)), objective, 32, {"weights": "w"}),
        search_key(REQUEST, Objective("jaccard", objective.dense, {}, objective.accuracies), 32, {"weights": "w"}),
        search_key(REQUEST, Objective("agreement", longer, {}, objective.accuracies), 32, {"weights": "w"}),
        search_key(
            REQUEST, Objective("agreement", objective.dense, {}, {"bear": 1.0, "cows": 0.9}), 32, {"weights": "w"}
        ),
    ):
        assert other != first
        SearchLog(tmp_path / "log", other).add(MeasuredPoint({"tau": 0.1}, 0.5, 0.9))
    assert SearchLog(tmp_path / "log", first).read() == []
