"""Results of a second of two links, for tests of tables and pages."""

from __future__ import annotations

from typing import Any

from fluxshard.evaluate.end_to_end.replays import run_link
from fluxshard.evaluate.end_to_end.report.results import Results, collect
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.end_to_end.workload import POSE, Workload
from tests.unit.evaluate.end_to_end.materials import FADING, FAST, LOSSES, options, task


def small_results(workload: Workload = POSE) -> Results:
    """A link that fades in "low", a fast one, with several edges, in "medium"."""
    tasks = [task("low", 0, FADING, workload=workload), task("medium", 0, FAST, workload=workload)]
    return collect(tasks, [run_link(one) for one in tasks], options(workload), 10.0)


def description() -> dict[str, Any]:
    """Of how they were made."""
    methods = methods_of(SETTINGS["pose"], 32)
    sizes = {
        name: 1.0
        for name in ("raw_kb", "packed_kb", "h264_kb", "key_kb", "head_kb", "jpeg_kb", "frame_kb", "similarity")
    }
    return {
        "command": "the command", "weights": "tiny", "size": "8x8", "clips": ["clip", "other"],
        "frames": {"clip": 10, "other": 10}, "measure": "oks", "settings": {"scale": 0.75, "tau": 0.02},
        "methods": {role: method.name for role, method in methods.items()},
        "whole_clips": [
            {"role": role, "method": method.name, "compute": 0.5, "accuracy": 0.8 * (1 - LOSSES.get(role, 0.0))}
            for role, method in methods.items()
        ],
        "sent": [{"clip": name, "work": 0.1, "work_4": 0.4, **sizes} for name in ("clip", "other")],
        "links": {"low": ["fading"], "medium": ["fast"]},
        "fluxshard": "0", "torch": "0", "python": "3", "machine": "none",
    }  # fmt: skip
