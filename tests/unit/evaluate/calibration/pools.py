"""Clips and pools of known results, for the tests of calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from fluxshard.evaluate.calibration.objective import Calibration, Objective, prepare_objective
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.traces.trace import FoundObject
from fluxshard.evaluate.traces.workers import FinishedTask, Task, WorkerPool
from fluxshard.testing.evaluation import PoolOf, found, trace_of, window

SIZE = (8, 16)
LEFT = encode(window(SIZE, (0, 8), (0, 8)))
BEAR, COWS = Clip("bear", Path("bear.mp4")), Clip("cows", Path("cows.mp4"))
REQUEST = Calibration(clips=(BEAR, COWS))
OBJECT = found(0.9, (0, 0, 8, 8), mask=LEFT)
HALF = found(0.9, (0, 0, 4, 8), mask=encode(window(SIZE, (0, 8), (0, 4))))


def pool_of(
    objects: Callable[[Task], list[FoundObject]] = lambda _: [OBJECT],
    frames: dict[str, int] | None = None,
    annotated: tuple[str, ...] = (),
    work: Callable[[Task], list[float]] | None = None,
) -> PoolOf:
    """Finds the same objects in every frame, 5 of each clip; annotations are the left half of the picture."""

    def result(task: Task) -> FinishedTask:
        count = (frames or {}).get(task.clip.name, 5)
        trace = trace_of(
            *[objects(task)] * count, size=SIZE, clip=task.clip.name, method=task.method.name,
            work=0.5 if work is None else work(task),
        )  # fmt: skip
        return FinishedTask(task, trace, (LEFT,) * count if task.clip.name in annotated else None)

    return PoolOf(result)


def objective_of(pool: PoolOf, request: Calibration = REQUEST) -> Objective:
    """The objective that a pool's dense network gives."""
    return prepare_objective(request, cast(WorkerPool, pool))
