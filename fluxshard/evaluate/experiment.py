"""A complete evaluation: cross-calibrated threshold profiles, methods over clips, scores, figures and report."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import fluxshard
from fluxshard.errors import OptionError
from fluxshard.evaluate.calibration.calibrate import (
    DenseBaseline,
    ProgressCallbacks,
    find_thresholds,
    inspect_network,
    run_dense,
)
from fluxshard.evaluate.calibration.objective import Calibration
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.method import Method, Reuse, dense_method
from fluxshard.evaluate.methods.method_sets import (
    NamedThresholdProfile,
    ablations,
    carried_along,
    method_of_threshold_profile,
    methods_named,
)
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.report.figures import draw_examples, draw_figures
from fluxshard.evaluate.report.report import write_markdown, write_report
from fluxshard.evaluate.runner import Runner
from fluxshard.evaluate.traces.trace_store import StoredTrace
from fluxshard.evaluate.traces.workers import Setup, WorkerPool
from fluxshard.files import write_whole
from fluxshard.runtime.threshold_profile import ThresholdProfile

SCORES, THRESHOLD_PROFILES, FIGURES = "scores.json", "profiles", "figures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Request for an evaluation.

    Attributes:
      clips: clips to evaluate on.
      setup: network, image size and backend.
      out: output directory.
      methods: names of sets of methods, see `method_sets.set_names`.
      budgets: accuracy losses, as fractions of the dense network's accuracy, to calibrate threshold profiles for. Each
        is calibrated on one half of the clips and reported on the other half, both ways.
      policies: policies to calibrate threshold profiles for, "planned" or "propagated".
      threshold_profiles: existing threshold profiles to evaluate, by label.
      split: fraction of the budget for the input's threshold (the paper's r); propagated reuse only.
      points: maximum number of points that a calibration measures; planned reuse only.
      layers: number of layers with thresholds, islands not counted; propagated reuse only.
      workers: number of processes; None starts one per processor.
      examples: number of clips to draw example pictures of.
      measure: measure of accuracy in the report; None selects mean J where all clips have annotations, OKS for poses
        and mIoU otherwise.
      teacher_size: size at which the same network is the teacher of measure "teacher", as `Setup.size`; None without.
      command: command line, for the report; empty takes `sys.argv`.
    """

    clips: tuple[Clip, ...]
    setup: Setup
    out: Path
    methods: tuple[str, ...] = ()
    budgets: tuple[float, ...] = ()
    policies: tuple[str, ...] = ("planned",)
    threshold_profiles: Mapping[str, Path] | None = None
    split: float = 2 / 3
    points: int = 60
    layers: int = 12
    workers: int | None = None
    examples: int = 3
    measure: str | None = None
    teacher_size: str | None = None
    command: str = ""


def halves(clips: Sequence[Clip]) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Splits clips, sorted by name, into those at even and those at odd positions."""
    ordered = sorted(clips, key=lambda clip: clip.name)
    return tuple(ordered[::2]), tuple(ordered[1::2])


def run_experiment(request: Experiment, progress: ProgressCallbacks | None = None) -> list[ClipScores]:
    """Makes missing threshold profiles and traces, scores all traces, and writes scores, figures and report.

    Raises:
      EvaluationError: clips cannot be read or calibrated on, or a task failed; finished traces remain.
      OptionError: a set of methods is unknown, or the network cannot be evaluated at the size.
      ProfileError: a threshold profile cannot be read.
    """
    progress = progress or ProgressCallbacks()
    request.out.mkdir(parents=True, exist_ok=True)
    network = inspect_network(request.setup, request.clips[0])
    named = [
        NamedThresholdProfile(label, ThresholdProfile.load(path))
        for label, path in (request.threshold_profiles or {}).items()
    ]
    named += _calibrated(request, progress)
    tasks: list[tuple[Method, Clip]] = [
        (method, clip) for method in methods_named(request.methods, network.plan.s_max) for clip in request.clips
    ]
    on_canvas = sorted({method.name for method, _ in tasks if isinstance(method, Reuse) and method.canvas_px})
    if on_canvas and not network.takes_canvas:
        raise OptionError(
            f"--methods: a larger canvas is wanted for {', '.join(on_canvas)}, and a saved model has its own: leave "
            "them out, or give the weights file"
        )
    # a row of halves, of which only one can be carried, would be of half of the clips
    not_carried = {one.label for one in named if one.threshold_profile.canvas_px}
    for one in named:
        method = method_of_threshold_profile(one)
        variants: list[Method] = [method]
        if one.threshold_profile.reuse.policy == "propagated" and "ablations" in request.methods:
            variants += ablations(method)
        if one.threshold_profile.reuse.policy == "planned" and one.label not in not_carried:
            variants.append(carried_along(method))
        mine = [clip for clip in request.clips if one.clips is None or clip.name in one.clips]
        tasks += [(variant, clip) for variant in variants for clip in mine]
    runner = Runner(request.setup, request.out)
    stored = runner.run(tasks, workers=request.workers, on_frames=progress.frames, on_trace=progress.step)
    teacher = _taught(request, progress)
    progress.step("scores")
    scores = runner.score(stored, teacher=teacher, workers=request.workers)
    write_whole(request.out / SCORES, (json.dumps([asdict(one) for one in scores]) + "\n").encode())
    _report(request, scores, named, progress)
    return scores


def _taught(request: Experiment, progress: ProgressCallbacks) -> list[StoredTrace]:
    """Traces of the teacher: the dense network at a larger size."""
    if request.teacher_size is None:
        return []
    runner = Runner(replace(request.setup, size=request.teacher_size), request.out)
    tasks: list[tuple[Method, Clip]] = [(dense_method(), clip) for clip in request.clips]
    progress.step(f"the teacher, at {request.teacher_size} px")
    return runner.run(tasks, workers=request.workers, on_frames=progress.frames, on_trace=progress.step)


def _calibrated(request: Experiment, progress: ProgressCallbacks) -> list[NamedThresholdProfile]:
    """Threshold profiles of each policy and budget, calibrated on one half of the clips to be reported on the other."""
    if not request.budgets:
        return []
    folder = request.out / THRESHOLD_PROFILES
    folder.mkdir(exist_ok=True)
    parts = halves(request.clips)
    found = []
    for half, mine, others in (("a", *parts), ("b", *parts[::-1])):
        if not mine or not others:
            continue
        names = frozenset(clip.name for clip in others)
        files = {
            (policy, budget): folder / f"{policy}-{100 * budget:g}pct-{half}.json"
            for policy in request.policies
            for budget in sorted(request.budgets)
        }
        missing = {target: path for target, path in files.items() if not path.exists()}
        if missing:
            with WorkerPool(request.setup, request.workers, tasks=len(mine)) as pool:
                _calibrate_all(request, mine, half, missing, pool, progress)
        found += [
            NamedThresholdProfile(_label(policy, budget), ThresholdProfile.load(path), names)
            for (policy, budget), path in files.items()
        ]
    return found


def _calibrate_all(
    request: Experiment,
    clips: tuple[Clip, ...],
    half: str,
    files: Mapping[tuple[str, float], Path],
    pool: WorkerPool,
    progress: ProgressCallbacks,
) -> None:
    """Calibrates and writes the threshold profiles of policies and budgets, with one dense run of the clips."""
    baseline: DenseBaseline | None = None
    for (policy, budget), path in files.items():
        calibration = Calibration(
            clips=clips,
            alpha=1 - budget,
            policy=policy,  # type: ignore[arg-type]
            split=request.split,
            most_points=request.points,
            truncation_points=request.layers,
        )
        baseline = baseline or run_dense(calibration, request.setup, pool, progress)
        progress.step(f"calibrating {_label(policy, budget)} on {', '.join(clip.name for clip in clips)}")
        log = path.with_name(f"{policy}-{half}.search.jsonl")
        threshold_profile, _ = find_thresholds(calibration, baseline, pool, log, progress)
        threshold_profile.save(path)


def _label(policy: str, budget: float) -> str:
    return f"{policy}@{100 * budget:g}%"


def measure_of(scores: Sequence[ClipScores]) -> str:
    """Default measure of accuracy: mean J where all clips have annotations, OKS for poses, mIoU otherwise."""
    if all(one.mean_jaccard is not None for one in scores):
        return "mean_jaccard"
    if all(one.jaccard is not None for one in scores):
        return "jaccard"
    return "oks" if any(one.oks is not None for one in scores) else "miou"


def _report(
    request: Experiment,
    scores: list[ClipScores],
    named: Sequence[NamedThresholdProfile],
    progress: ProgressCallbacks,
) -> None:
    """Draws the figures and writes the report as HTML and Markdown."""
    measure = request.measure or measure_of(scores)
    progress.step("figures")
    figures = draw_figures(scores, request.out / FIGURES, measure)
    examples = draw_examples(request.clips[: request.examples], request.setup, named, request.out / FIGURES)
    facts: dict[str, Any] = {
        "command": request.command or " ".join(sys.argv),
        "fluxshard": fluxshard.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.processor() or 'processor unknown'}",
        "frames": "all" if request.setup.max_frames is None else f"the first {request.setup.max_frames} of each clip",
        "weights": Path(request.setup.weights).name,
    }
    title = f"Reuse with {Path(request.setup.weights).stem}"
    notes = _notes(named)
    for write, path in ((write_report, request.out), (write_markdown, request.out / "report.md")):
        write(scores, path, title=title, notes=notes, figures=figures, examples=examples, facts=facts, measure=measure)


def _notes(named: Sequence[NamedThresholdProfile]) -> list[str]:
    """Paragraphs of the report on what its numbers mean."""
    notes = [
        "Work is counted in multiply-accumulates against the dense network on the image itself, also where a method "
        "runs on a larger canvas. First frames, which fill the caches, are left out.",
    ]
    if any(one.clips is not None for one in named):
        notes.append(
            "Methods named policy@loss were calibrated on one half of the clips and are reported on the other half, "
            "both ways. The settings of all other methods are picked on the clips that they are reported on, which "
            "favours them."
        )
    return notes
