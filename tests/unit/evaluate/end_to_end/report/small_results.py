"""Results of a second of two links, for tests of tables and pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content.method_memory import TORCH
from fluxshard.evaluate.end_to_end.extremes.clips import Extreme
from fluxshard.evaluate.end_to_end.extremes.replayed import extreme_figures
from fluxshard.evaluate.end_to_end.replays import run_link
from fluxshard.evaluate.end_to_end.report.results import Results, collect
from fluxshard.evaluate.end_to_end.sensitivity.configurations import CONFIGURATIONS
from fluxshard.evaluate.end_to_end.sensitivity.replayed import row_of
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.end_to_end.workload import POSE, Workload
from fluxshard.options import ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile
from tests.unit.evaluate.end_to_end.materials import FADING, FAST, LOSSES, material, options, task

STILL = Extreme(clip=Clip("still", Path("still")), made_of=("clip",))
CUT = Extreme(clip=Clip("cut", Path("cut")), made_of=("clip", "other"), cut=7)


def small_results(workload: Workload = POSE) -> Results:
    """A link that fades in "low", a fast one, with several edges, in "medium"; and what is replayed beside these."""
    tasks = [task("low", 0, FADING, workload=workload), task("medium", 0, FAST, workload=workload)]
    results = collect(tasks, [run_link(one) for one in tasks], options(workload), 10.0)
    reuse = ReuseOptions()
    profile = ThresholdProfile(reuse=reuse, canvas_px=0, network="n", weights="w", facts={"accuracy_kept": 0.97})
    return replace(
        results,
        sensitivity=tuple(
            row_of(one, profile, [material()], "medium", [FAST], options(workload)) for one in CONFIGURATIONS
        ),
        extremes=tuple(
            one for clip in (STILL, CUT) for one in extreme_figures(clip, material(), "medium", [FAST], options(), {})
        ),
    )


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
        "calibrated_on": {"clips": ["street"], "max_frames": 20, "points": 40, "layers": 12},
        "memory": [
            {"name": TORCH, "cached_bytes": 0, "peak_mib": 300.0},
            {"name": "planned x0.75", "cached_bytes": 25_000_000, "peak_mib": 350.0},
        ],
        "sent": [{"clip": name, "work": 0.1, "work_4": 0.4, **sizes} for name in ("clip", "other")],
        "links": {"low": ["fading"], "medium": ["fast"]},
        "fluxshard": "0", "torch": "0", "python": "3", "machine": "none",
    }  # fmt: skip
