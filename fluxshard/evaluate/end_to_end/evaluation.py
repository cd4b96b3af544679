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
from fluxshard.evaluate.end_to_end.content.material import Answers, Material, work_slope
from fluxshard.evaluate.end_to_end.content.moved_results import moved_accuracy, moved_traces
from fluxshard.evaluate.end_to_end.content.recordings import Networks, Recordings, load_arrays, save_arrays
from fluxshard.evaluate.end_to_end.replays import LinkTask, ReplayOptions, run_replays, turned
from fluxshard.evaluate.end_to_end.report.pages import write_pages
from fluxshard.evaluate.end_to_end.report.results import Results, collect
from fluxshard.evaluate.end_to_end.settings import Role, Settings, methods_of
from fluxshard.evaluate.experiment import measure_of
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.runner import Runner
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.workers import Setup

RECORDED: tuple[Role, ...] = ("planned", "carried", "propagated", "deltacnn", "motion-deltacnn", "w/o remap")
_LIKE_PROPAGATED: tuple[Role, ...] = ("w/o RFAP", "RFAP per layer", "w/o sparse")  # the same pixels go up


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
    workers: int | None = None
    command: str = ""


Tell = Callable[[str], None]


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
    request = replace(request, setup=replace(request.setup, encoded=True))
    request.out.mkdir(parents=True, exist_ok=True)
    canvas_px = inspect_network(request.setup, request.clips[0]).plan.s_max
    methods = methods_of(request.settings, canvas_px, ablated=request.options.ablated)
    runner = Runner(request.setup, request.out)
    tasks = [(method, clip) for method in methods.values() for clip in request.clips]
    stored = runner.run(tasks, workers=request.workers, on_frames=on_frames, on_trace=tell)
    tell("scores")
    scores = runner.score(stored, workers=request.workers)
    measure = request.measure or measure_of(scores)
    dense = {entry.task.clip.name: entry.path for entry in stored if entry.task.method is methods["dense"]}
    recordings = Recordings(request.setup, Networks(request.setup), request.out)
    materials = []
    for clip in request.clips:
        materials.append(_material(request, clip, methods, scores, measure, recordings, dense[clip.name], tell))
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
    tell("figures")
    results = collect(links, records, request.options, request.deadline_ms)
    write_pages(results, request.out, _description(request, methods, scores, measure, materials))
    return results


_DENSE: tuple[Role, ...] = ("dense", "jpeg", "coach")


def _material(
    request: EndToEnd,
    clip: Clip,
    methods: Mapping[Role, Method],
    scores: Sequence[ClipScores],
    measure: str,
    recordings: Recordings,
    dense: Path,
    tell: Tell,
) -> Material:
    """All that is known of a clip, recorded where it is missing."""
    found = {}
    for role in (one for one in RECORDED if one in methods):
        tell(f"{clip.name}: what {methods[role].name} sends")
        found[role] = recordings.content(clip, methods[role])
    for role in _LIKE_PROPAGATED:
        found[role] = found["propagated"]
    pictures = recordings.pictures(clip)
    by_method = {one.method: one for one in scores if one.clip == clip.name}
    answers = {
        role: Answers(
            compute=np.array([frame.compute_ratio for frame in by_method[method.name].frames]),
            accuracy=by_method[method.name].column(measure),
        )
        for role, method in methods.items()
    }
    path = recordings.path_of_moved(clip, methods["planned"], measure)
    if not path.exists():
        tell(f"{clip.name}: results moved to later frames")
        prepared = recordings.prepared(clip)
        traces = moved_traces(methods["planned"], recordings.network(clip), prepared)
        moved = moved_accuracy(traces, Trace.load(dense), prepared, measure)
        save_arrays(path, **{str(age): values for age, values in moved.items()})
    lengths = {len(found["planned"].packet_bytes), *(len(one.compute) for one in answers.values())}
    if len(lengths) > 1:
        raise EvaluationError(
            f"clip {clip.name!r}: recordings and traces have {sorted(lengths)} frames; delete "
            f"{str(request.out)!r}, and evaluate again"
        )
    return Material(
        name=clip.name, recordings=found, jpeg_bytes=pictures.jpeg_bytes, similarity=pictures.similarity,
        answers=answers, moved={int(age): values for age, values in load_arrays(path).items()},
    )  # fmt: skip


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
    scores: Sequence[ClipScores],
    measure: str,
    materials: Sequence[Material],
) -> dict[str, Any]:
    """What the report says of how it was made."""
    sizes = sorted({one.size for one in materials})
    return {
        "command": request.command,
        "weights": Path(request.setup.weights).stem,
        "size": " and ".join(f"{height}x{width}" for height, width in sizes),
        "clips": [one.name for one in materials],
        "frames": {one.name: len(one.jpeg_bytes) for one in materials},
        "measure": measure,
        "settings": asdict(request.settings),
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
        "sent": [_sent(one) for one in materials],
        "links": {tier: [link.name for link in links] for tier, links in request.links.items()},
        "fluxshard": fluxshard.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.processor() or 'processor unknown'}",
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
