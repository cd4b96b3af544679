"""The whole of it: what methods make of clips, replays over links, figures, and the report. What is there is kept."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fluxshard
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.calibration.calibrate import inspect_network
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content.gathering import RECORDED, Gathered, Gathering, Tell
from fluxshard.evaluate.end_to_end.content.material import Material, work_slope
from fluxshard.evaluate.end_to_end.content.method_memory import MethodMemory, method_memory
from fluxshard.evaluate.end_to_end.extremes.clips import FRAMES, make_extremes
from fluxshard.evaluate.end_to_end.extremes.replayed import ExtremeFigures, extreme_figures
from fluxshard.evaluate.end_to_end.replays import LinkTask, ReplayOptions, run_replays, turned
from fluxshard.evaluate.end_to_end.report.pages import write_pages
from fluxshard.evaluate.end_to_end.report.results import Results, collect
from fluxshard.evaluate.end_to_end.sensitivity.calibrated import CalibratedOn, check_apart
from fluxshard.evaluate.end_to_end.sensitivity.replayed import sensitivity_rows, tier_of
from fluxshard.evaluate.end_to_end.settings import ABLATIONS, Role, Settings, methods_of
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.traces.workers import Setup


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Request for an evaluation.

    Attributes:
      clips: that are sent.
      setup: network, image size, frames; `encoded` is taken for granted.
      settings: of the methods.
      links: by tier.
      options: of the replays.
      out: directory for everything.
      measure: accuracy, a name in `FrameScores`; None takes mean J where clips have annotations, else OKS or mIoU
        against the dense network.
      deadline_ms: of the answers at any time.
      calibrated_on: how the rows of the paper's Table V are calibrated; None leaves them out.
      extremes: with a still clip and a cut, made of the first two clips.
      memory: with what methods take of memory.
      workers: number of processes; None starts one per processor.
      command: command line, for the report.
    """

    clips: tuple[Clip, ...]
    setup: Setup
    settings: Settings
    links: Mapping[str, Sequence[LinkTrace]]
    options: ReplayOptions
    out: Path
    measure: str | None = None
    deadline_ms: float = 10.0
    calibrated_on: CalibratedOn | None = None
    extremes: bool = False
    memory: bool = False
    workers: int | None = None
    command: str = ""


def run_end_to_end(
    request: EndToEnd, *, on_frames: Callable[[int], None] = lambda _: None, tell: Tell = lambda _: None
) -> Results:
    """Makes what is missing, and writes the report.

    Raises:
      EvaluationError: clips or traces cannot be read; what was finished remains.
      OptionError: the network cannot be evaluated at the size.
    """
    if not request.clips or not request.links or not all(request.links.values()):
        raise EvaluationError("nothing to replay: give clips and link traces")
    if request.calibrated_on is not None:
        check_apart(request.calibrated_on, request.clips)
    request = replace(request, setup=replace(request.setup, encoded=True))
    request.out.mkdir(parents=True, exist_ok=True)
    canvas_px = inspect_network(request.setup, request.clips[0]).plan.s_max
    methods = methods_of(request.settings, canvas_px, ablated=request.options.ablated)
    gathering = Gathering(request.setup, request.out, workers=request.workers, on_frames=on_frames, tell=tell)
    gathered = gathering.gather(request.clips, methods, request.measure)
    materials = gathered.materials
    slopes = {role: work_slope(materials, role) for role in methods if role not in ("planned", "carried", *_DENSE)}
    links = [
        LinkTask(
            tier=tier, number=number, link=link, materials=turned(materials, number), slopes=slopes,
            options=request.options,
        )
        for tier, traces in request.links.items()
        for number, link in enumerate(traces)
    ]  # fmt: skip
    records = run_replays(
        links, request.out, facts=_facts_of(materials, slopes), workers=request.workers or 1, on_done=tell
    )
    results = collect(links, records, request.options, request.deadline_ms)
    if request.calibrated_on is not None:
        rows = sensitivity_rows(
            request.calibrated_on, gathering, request.clips, gathered, request.links, request.options
        )  # fmt: skip
        results = replace(results, sensitivity=rows)
    if request.extremes:
        results = replace(results, extremes=_extremes(request, gathering, methods, slopes))
    memory: tuple[MethodMemory, ...] = ()
    if request.memory:
        memory = method_memory(request.setup, request.clips[0], methods, request.out, tell)
    tell("figures")
    write_pages(results, request.out, _description(request, methods, gathered, memory))
    return results


def _extremes(
    request: EndToEnd, gathering: Gathering, methods: Mapping[Role, Method], slopes: Mapping[Role, float]
) -> tuple[ExtremeFigures, ...]:
    """All methods on a still clip and on a cut."""
    size = gathering.size_of(request.clips[0])
    made = make_extremes(request.clips, size, request.out, min(FRAMES, request.setup.max_frames or FRAMES))
    taken = {role: method for role, method in methods.items() if role not in ABLATIONS}
    materials = gathering.gather([one.clip for one in made], taken).materials
    tier = tier_of(request.links)
    found: list[ExtremeFigures] = []
    for one, material in zip(made, materials, strict=True):
        found += extreme_figures(one, material, tier, request.links[tier], request.options, slopes)
    return tuple(found)


_DENSE: tuple[Role, ...] = ("dense", "jpeg", "coach")


def _facts_of(materials: Sequence[Material], slopes: Mapping[Role, float]) -> dict[str, Any]:
    """What replays depend on, for their names."""
    body = hashlib.sha256()
    for one in materials:
        for role in (each for each in RECORDED if each in one.recordings):
            for name in ("work", "pixels", "order_bytes", "packed_bytes", "packet_bytes"):
                body.update(np.nan_to_num(getattr(one.recordings[role], name)).astype(np.float32).tobytes())
        for answers in one.answers.values():
            body.update(answers.compute.astype(np.float32).tobytes())
        body.update(one.jpeg_bytes.tobytes() + np.nan_to_num(one.similarity).tobytes())
    return {"materials": body.hexdigest(), "slopes": {role: round(slope, 6) for role, slope in slopes.items()}}


def _description(
    request: EndToEnd,
    methods: Mapping[Role, Method],
    gathered: Gathered,
    memory: Sequence[MethodMemory],
) -> dict[str, Any]:
    """What the report says of how it was made."""
    materials, scores, measure = gathered.materials, gathered.scores, gathered.measure
    sizes = sorted({one.size for one in materials})
    return {
        "command": request.command,
        "weights": Path(request.setup.weights).stem,
        "size": " and ".join(f"{height}x{width}" for height, width in sizes),
        "clips": [one.name for one in materials],
        "frames": {one.name: len(one.jpeg_bytes) for one in materials},
        "measure": measure,
        "settings": asdict(request.settings),
        "calibrated_on": None if request.calibrated_on is None else _calibrated_on(request.calibrated_on),
        "methods": {role: method.name for role, method in methods.items()},
        "whole_clips": [
            {
                "role": role,
                "method": method.name,
                "compute": float(np.mean([one.compute_ratio for one in scores if one.method == method.name])),
                "accuracy": _mean([getattr(one, measure) for one in scores if one.method == method.name]),
            }
            for role, method in methods.items()
        ],
        "memory": [asdict(one) for one in memory],
        "sent": [_sent(one) for one in materials],
        "links": {tier: [link.name for link in links] for tier, links in request.links.items()},
        "fluxshard": fluxshard.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.processor() or 'processor unknown'}",
    }


def _calibrated_on(on: CalibratedOn) -> dict[str, Any]:
    return {
        "clips": [clip.name for clip in on.clips],
        "max_frames": on.max_frames,
        "points": on.points,
        "layers": on.layers,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _sent(one: Material) -> dict[str, Any]:
    """Means of what a clip takes, for caches of one frame."""
    planned = one.recordings["planned"]
    rows = slice(len(planned.packet_bytes) // 2, None)
    return {
        "clip": one.name,
        "work": float(planned.work[rows, 0, 0].mean()),
        "work_4": float(planned.work[rows, planned.ages.index(4), 0].mean()),
        "raw_kb": 3 * float(planned.pixels[rows, 0].mean()) / 1e3,
        "packed_kb": float(planned.packed_bytes[rows, 0].mean()) / 1e3,
        "h264_kb": float(planned.packet_bytes[rows].mean()) / 1e3,
        "key_kb": float(planned.key_bytes.mean()) / 1e3,
        "head_kb": float(planned.order_bytes[rows, 0].mean()) / 1e3,
        "jpeg_kb": float(one.jpeg_bytes.mean()) / 1e3,
        "frame_kb": one.raw_bytes / 1e3,
        "similarity": float(one.similarity[rows, 0].mean()),
    }
