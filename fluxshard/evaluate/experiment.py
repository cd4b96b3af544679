"""The evaluation of reuse: methods over clips, calibrated across halves, scored, drawn and written down."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import fluxshard
from fluxshard.evaluate.calibration.calibrate import (
    DenseBaseline,
    ProgressCallbacks,
    find_thresholds,
    look_at,
    run_dense,
)
from fluxshard.evaluate.calibration.objective import Calibration
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.methods.method_sets import NamedProfile, ablations, method_of_profile, methods_named
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.report.figures import draw_examples, draw_figures
from fluxshard.evaluate.report.report import write_markdown, write_report
from fluxshard.evaluate.runner import Runner
from fluxshard.evaluate.traces.workers import Setup, WorkerPool
from fluxshard.files import write_whole
from fluxshard.runtime.threshold_profile import ThresholdProfile

SCORES, PROFILES, FIGURES = "scores.json", "profiles", "figures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What is asked for.

    Attributes:
      clips: to evaluate on.
      setup: of the network.
      out: directory for everything that is made.
      methods: names of sets of methods.
      budgets: losses, as shares of the dense network's accuracy, that profiles are calibrated for: on one half of the
        clips, reported on the other, and the other way round.
      policies: that profiles are calibrated for.
      profiles: calibrated already, by label.
      split: the paper's r, for propagated profiles.
      points: settings that a calibration may measure.
      layers: that get thresholds in propagated profiles.
      workers: processes; None takes one per processor.
      examples: clips that example pictures are made of.
      measure: of accuracy; None takes J where clips have annotations, OKS for poses, and otherwise mIoU.
      command: how it was started, for the report.
    """

    clips: tuple[Clip, ...]
    setup: Setup
    out: Path
    methods: tuple[str, ...] = ()
    budgets: tuple[float, ...] = ()
    policies: tuple[str, ...] = ("planned",)
    profiles: Mapping[str, Path] | None = None
    split: float = 2 / 3
    points: int = 60
    layers: int = 12
    workers: int | None = None
    examples: int = 3
    measure: str | None = None
    command: str = ""


def halves(clips: Sequence[Clip]) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Every second clip in order of name, and the others."""
    ordered = sorted(clips, key=lambda clip: clip.name)
    return tuple(ordered[::2]), tuple(ordered[1::2])


def run_experiment(request: Experiment, watch: ProgressCallbacks | None = None) -> list[ClipScores]:
    """Runs what is missing, scores everything and writes the report.

    Raises:
      EvaluationError: see `Runner` and `calibrate`.
    """
    watch = watch or ProgressCallbacks()
    request.out.mkdir(parents=True, exist_ok=True)
    network = look_at(request.setup, request.clips[0])
    named = [NamedProfile(label, ThresholdProfile.load(path)) for label, path in (request.profiles or {}).items()]
    named += _calibrated(request, watch)
    tasks: list[tuple[Method, Clip]] = [
        (method, clip) for method in methods_named(request.methods, network.plan.s_max) for clip in request.clips
    ]
    for one in named:
        method = method_of_profile(one)
        variants: list[Method] = [method]
        if one.profile.reuse.policy == "propagated" and "ablations" in request.methods:
            variants += ablations(method)
        mine = [clip for clip in request.clips if one.clips is None or clip.name in one.clips]
        tasks += [(variant, clip) for variant in variants for clip in mine]
    runner = Runner(request.setup, request.out)
    kept = runner.run(tasks, workers=request.workers, on_frames=watch.frames, on_trace=watch.step)
    watch.step("scores")
    scores = runner.score(kept, workers=request.workers)
    write_whole(request.out / SCORES, (json.dumps([asdict(one) for one in scores]) + "\n").encode())
    _report(request, scores, named, watch)
    return scores


def _calibrated(request: Experiment, watch: ProgressCallbacks) -> list[NamedProfile]:
    """Profiles for each budget: found on one half, to be reported on the other."""
    if not request.budgets:
        return []
    folder = request.out / PROFILES
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
        missing = {asked: path for asked, path in files.items() if not path.exists()}
        if missing:
            with WorkerPool(request.setup, request.workers, tasks=len(mine)) as pool:
                _calibrate_all(request, mine, half, missing, pool, watch)
        found += [
            NamedProfile(_label(policy, budget), ThresholdProfile.load(path), names)
            for (policy, budget), path in files.items()
        ]
    return found


def _calibrate_all(
    request: Experiment,
    clips: tuple[Clip, ...],
    half: str,
    files: Mapping[tuple[str, float], Path],
    pool: WorkerPool,
    watch: ProgressCallbacks,
) -> None:
    """Writes the profiles of policies and budgets, all found on the same clips."""
    known: DenseBaseline | None = None
    for (policy, budget), path in files.items():
        question = Calibration(
            clips=clips,
            alpha=1 - budget,
            policy=policy,  # type: ignore[arg-type]
            split=request.split,
            most_points=request.points,
            truncation_points=request.layers,
        )
        known = known or run_dense(question, request.setup, pool, watch)
        watch.step(f"calibrating {_label(policy, budget)} on {', '.join(clip.name for clip in clips)}")
        log = path.with_name(f"{policy}-{half}.search.jsonl")
        profile, _ = find_thresholds(question, known, pool, log, watch)
        profile.save(path)


def _label(policy: str, budget: float) -> str:
    return f"{policy}@{100 * budget:g}%"


def measure_of(scores: Sequence[ClipScores]) -> str:
    """J where all clips have annotations, OKS for poses, otherwise mIoU against the dense network."""
    if all(one.jaccard is not None for one in scores):
        return "jaccard"
    return "oks" if any(one.oks is not None for one in scores) else "miou"


def _report(
    request: Experiment, scores: list[ClipScores], named: Sequence[NamedProfile], watch: ProgressCallbacks
) -> None:
    measure = request.measure or measure_of(scores)
    watch.step("figures")
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


def _notes(named: Sequence[NamedProfile]) -> list[str]:
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
