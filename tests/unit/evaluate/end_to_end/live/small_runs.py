"""Runs over a link, made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fluxshard.evaluate.end_to_end.live.answers import COLUMNS, AnswerRow, Answers
from fluxshard.evaluate.end_to_end.live.methods import METHODS, LiveMethod
from fluxshard.evaluate.end_to_end.live.runs import LiveRun
from fluxshard.evaluate.traces.trace import Trace, TracedFrame
from fluxshard.testing.evaluation import found

FACTS: dict[str, Any] = {
    "peak_mib": 300.0, "threads": 1, "link": "packets", "queue_bytes": 65536, "initcwnd": None,
    "congestion_control": None, "trace": "walk.csv", "mbps": [10.0, 20.0], "server_mib": 500.0, "load": 1.5,
    "one_way_ms": 20.0, "cpus": [[0], [1]], "meter": None, "no_meter": ["RAPL: there is none"],
    "tcp": {
        "slow_start_after_idle": False, "congestion_control": "cubic", "route_initcwnd": None,
        "send_bytes": [4096, 16384, 4194304], "receive_bytes": [4096, 131072, 6291456],
    },
}  # fmt: skip


def row(index: int, **changes: object) -> AnswerRow:
    """One frame of 100 ms in three captured ones, of the server's."""
    values: dict[str, Any] = {
        "captured": 3 * index, "picture": index % 2, "captured_ms": 100.0 * index, "start_ms": 100.0 * index,
        "latency_ms": 100.0, "before_ms": 5.0, "link_ms": 50.0, "server_wait_ms": 5.0, "network_ms": 30.0,
        "after_ms": 10.0, "answered": 1, "cloud": 1, "hedged": 0, "refreshed": 0, "sent_bytes": 100, "compute": 0.5,
        "busy_ms": 20.0,
    }  # fmt: skip
    return AnswerRow(**(values | changes))


def answers(*rows: AnswerRow, watched_ms: float = 400.0, clip: str = "clip", metered_mj: float = math.nan) -> Answers:
    """Of rows; whatever is answered sees one object."""
    frames = tuple(
        TracedFrame(
            keyframe=False, compute_ratio=one.compute, recompute_ratio=0.1, latency_ms=one.latency_ms,
            objects=(found(0.9),) if one.answered else (),
        )
        for one in rows
    )  # fmt: skip
    trace = Trace(clip=clip, method="any", picture_size=(32, 48), frames=frames)
    return Answers.of(rows, watched_ms, trace, metered_mj)


def uncounted(given: Answers) -> Answers:
    """The same as it was recorded before edges counted how long they compute."""
    return replace(given, columns={name: values for name, values in given.columns.items() if name != "busy_ms"})


def run(
    *given: Answers,
    method: LiveMethod = METHODS[1],
    tier: str = "low",
    slowdown: float = 16.0,
    edges: int | None = None,
    **facts: object,
) -> LiveRun:
    """Of answers."""
    return LiveRun(tier=tier, slowdown=slowdown, method=method, answers=given, facts=FACTS | facts, edges=edges)


def same(one: Answers, other: Answers) -> bool:
    """Whether both say the same."""
    equal = all(np.array_equal(one.columns[name], other.columns[name]) for name in COLUMNS)
    seen = [[frame.objects for frame in each.trace.frames] for each in (one, other)]
    totals = [(each.watched_ms, each.metered_mj) for each in (one, other)]
    return equal and np.array_equal(*totals, equal_nan=True) and seen[0] == seen[1]
