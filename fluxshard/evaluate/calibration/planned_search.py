"""Calibration of planned reuse: which thresholds are searched for, and the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fluxshard.evaluate.calibration.coordinate_descent import Dimension, Point, Visited, coordinate_descent
from fluxshard.evaluate.calibration.objective import Calibration, Objective, SearchLog, measure_method
from fluxshard.evaluate.methods.method import Reuse
from fluxshard.evaluate.metrics.search_accuracy import Measure
from fluxshard.evaluate.traces.workers import WorkerPool
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions

FINE, MIDDLE, COARSE = (1, 2, 4, 8), (16,), (32, 64, 128)
SMALL = 0.5  # threshold near small objects over that near others: clips may have none, and then say nothing of it


def dimensions(canvas_px: int, measure: Measure) -> tuple[Dimension, ...]:
    """What is searched for, in the order in which it is tried; starts are the shipped defaults.

    Thresholds of the background end where new objects would be found late: clips in which none appears would let them
    rise without end.

    Args:
      canvas_px: size of a canvas to try; 0 tries none.
      measure: of accuracy. On a canvas the network sees the image elsewhere on its grids: what it finds is as accurate
        (jaccard), but not the same (agreement), so that the search starts without one.
    """
    found = [
        Dimension("dilation", (0, 1), 0),  # first: where it helps, all thresholds may be higher
        Dimension("tau_background", (0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5), 5),
        Dimension("tau", (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08), 3),
        Dimension("tau_waiting", (0.02, 0.03, 0.04, 0.06, 0.08, 0.1), 3),
        Dimension("gain_coarse", (0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0), 4),
        Dimension("gain_middle", (0.6, 0.8, 1.0, 1.2, 1.5, 2.0), 3),
        Dimension("gain_fine", (0.5, 0.65, 0.8, 1.0, 1.25), 2),
        Dimension("wait_frames", (2, 3, 4, 6, 8), 3),
        Dimension("margin_px", (0, 8, 16, 24, 32), 1),
        Dimension("refresh_frames", (0, 60, 30, 15, 8), 0),
    ]
    if canvas_px:
        found.append(Dimension("canvas_px", (0, canvas_px), int(measure == "jaccard")))
    return tuple(found)


def method_at(point: Point, name: str = "planned", family: str = "planned") -> Reuse:
    """Planned reuse with the thresholds of a point."""
    gains = ((FINE, point["gain_fine"]), (MIDDLE, point["gain_middle"]), (COARSE, point["gain_coarse"]))
    planned = PlannedOptions(
        tau=point["tau"],
        tau_background=point["tau_background"],
        tau_small=SMALL * point["tau"],
        tau_waiting=point["tau_waiting"],
        wait_frames=int(point["wait_frames"]),
        refresh_frames=int(point["refresh_frames"]),
        margin_px=int(point["margin_px"]),
        levels={
            stride: LevelOptions(gain=gain, dilation=int(point["dilation"]))
            for strides, gain in gains
            for stride in strides
        },
    )
    return Reuse(
        name=name,
        family=family,
        options=ReuseOptions(policy="planned", planned=planned),
        canvas_px=int(point.get("canvas_px", 0)),
        regions=True,
    )


def search_planned(
    request: Calibration,
    ground: Objective,
    pool: WorkerPool,
    log: SearchLog,
    canvas_px: int,
    *,
    on_point: Callable[[Visited, int], None] = lambda _, __: None,
    on_frames: Callable[[int], None] = lambda _: None,
) -> tuple[Visited | None, list[Visited]]:
    """Searches for the thresholds of least work within the budget.

    Args:
      request: what is asked for.
      ground: from `prepare_ground`.
      pool: runs the points.
      log: results that are there already, and where new ones go.
      canvas_px: size of the canvas to try.
      on_point: called after each measurement, with how many there were.
      on_frames: called with frames done.

    Returns:
      the best point, None where none is within the budget, and all points.
    """
    measured = 0

    def evaluate(point: Point) -> tuple[float, float]:
        return measure_method(method_at(point), request, ground, pool, on_frames)

    def keep(visited: Visited) -> None:
        nonlocal measured
        measured += 1
        log.add(visited)
        on_point(visited, measured)

    return coordinate_descent(
        dimensions(canvas_px, ground.measure),
        evaluate,
        request.alpha,
        known=log.read(),
        most_points=request.most_points,
        on_point=keep,
    )


def question(request: Calibration, ground: Objective, canvas_px: int, facts: dict[str, Any]) -> dict[str, Any]:
    """What the results of a search depend on, for telling logs apart; the budget is not part of it."""
    return {
        "clips": sorted((clip.name, len(ground.dense[clip.name].frames)) for clip in request.clips),
        "measure": ground.measure,
        "dense": ground.accuracies,
        "canvas_px": canvas_px,
        "dimensions": [(one.name, one.values, one.start) for one in dimensions(canvas_px, ground.measure)],
        "small": SMALL,
        "defaults": asdict(PlannedOptions()),
        **facts,
    }
