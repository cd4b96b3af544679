"""Calibration of planned reuse: the thresholds that are searched for, and the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fluxshard.evaluate.calibration.coordinate_descent import Dimension, MeasuredPoint, Point, coordinate_descent
from fluxshard.evaluate.calibration.objective import Calibration, Objective, measure_method
from fluxshard.evaluate.calibration.search_log import SearchLog
from fluxshard.evaluate.methods.method import Reuse
from fluxshard.evaluate.traces.workers import WorkerPool
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions

FINE, MIDDLE, COARSE = (1, 2, 4, 8), (16,), (32, 64, 128)
SMALL = 0.5  # ratio of tau_small to tau, not searched for: clips without small objects do not constrain it


def dimensions(canvas_px: int) -> tuple[Dimension, ...]:
    """Dimensions of the search, in the order in which they are varied; starts are the shipped defaults.

    Background thresholds have an upper end at which new objects would be found late: clips in which no object appears
    would let them grow without bound.

    Args:
      canvas_px: canvas to try, pixels per axis beyond the image; 0 tries none. The search starts without it: a whole
        frame costs more on it, and where levels choose their own displacements it saves nothing that they do not.
    """
    found = [
        Dimension("dilation", (0, 1), 0),  # first: where it helps, all thresholds can be higher
        Dimension("tau_background", (0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6), 6),
        Dimension("tau", (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08), 3),
        Dimension("tau_stray", (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4), 3),
        Dimension("tau_waiting", (0.04, 0.06, 0.08, 0.1, 0.15), 3),
        Dimension("gain_coarse", (0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0), 4),
        Dimension("gain_middle", (0.6, 0.8, 1.0, 1.2, 1.5, 2.0), 3),
        Dimension("gain_fine", (0.5, 0.65, 0.8, 1.0, 1.25), 2),
        Dimension("wait_frames", (3, 6, 12, 24, 48), 3),
        Dimension("margin_px", (0, 8, 16, 24, 32), 2),
        Dimension("refresh_frames", (0, 60, 30, 15, 8), 0),
    ]
    if canvas_px:
        found.append(Dimension("canvas_px", (0, canvas_px), 0))
    return tuple(found)


def method_at(point: Point, name: str = "planned", family: str = "planned") -> Reuse:
    """Planned reuse with the thresholds of a point of `dimensions`."""
    gains = ((FINE, point["gain_fine"]), (MIDDLE, point["gain_middle"]), (COARSE, point["gain_coarse"]))
    planned = PlannedOptions(
        tau=point["tau"],
        tau_background=point["tau_background"],
        tau_small=SMALL * point["tau"],
        tau_waiting=point["tau_waiting"],
        tau_stray=point["tau_stray"],
        wait_frames=int(point["wait_frames"]),
        refresh_frames=int(point["refresh_frames"]),
        margin_px=int(point["margin_px"]),
        dilation=int(point["dilation"]),
        levels={stride: LevelOptions(gain=gain) for strides, gain in gains for stride in strides},
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
    objective: Objective,
    pool: WorkerPool,
    log: SearchLog,
    canvas_px: int,
    *,
    on_point: Callable[[MeasuredPoint, int], None] = lambda _, __: None,
    on_frames: Callable[[int], None] = lambda _: None,
) -> tuple[MeasuredPoint | None, list[MeasuredPoint]]:
    """Searches for the thresholds of least compute within the accuracy budget.

    Args:
      request: clips, accuracy budget and maximum number of points.
      objective: result of `prepare_objective`.
      pool: worker processes that run the points.
      log: points measured earlier, which are not run again; new ones are appended.
      canvas_px: canvas to try, pixels per axis beyond the image; 0 tries none.
      on_point: receives each measured point and its number, from 1.
      on_frames: receives the number of frames done since its last call.

    Returns:
      the point of least work within the budget, None where none is; and all points.
    """
    count = 0

    def evaluate(point: Point) -> tuple[float, float]:
        return measure_method(method_at(point), request, objective, pool, on_frames)

    def add(point: MeasuredPoint) -> None:
        nonlocal count
        count += 1
        log.add(point)
        on_point(point, count)

    return coordinate_descent(
        dimensions(canvas_px),
        evaluate,
        request.alpha,
        measured=log.read(),
        most_points=request.most_points,
        on_point=add,
    )


def search_key(request: Calibration, objective: Objective, canvas_px: int, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that the measurements of a search depend on; the accuracy budget is not part of it.

    Args:
      request: its clips are used.
      objective: result of `prepare_objective`.
      canvas_px: canvas that is tried.
      facts: identity of the network and the image size.

    Returns:
      JSON values, for `SearchLog`.
    """
    return {
        "clips": sorted((clip.name, len(objective.dense[clip.name].frames)) for clip in request.clips),
        "measure": objective.measure,
        "dense": objective.accuracies,
        "canvas_px": canvas_px,
        "dimensions": [(one.name, one.values, one.start) for one in dimensions(canvas_px)],
        "small": SMALL,
        "defaults": asdict(PlannedOptions()),
        **facts,
    }
