"""Calibration of one network on clips: dense baseline, threshold search and the resulting `ThresholdProfile`."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluxshard import video
from fluxshard.evaluate.calibration.coordinate_descent import MeasuredPoint
from fluxshard.evaluate.calibration.objective import Calibration, Objective, measure_method, prepare_objective
from fluxshard.evaluate.calibration.planned_search import dimensions, method_at, search_key, search_planned
from fluxshard.evaluate.calibration.propagated_search import INPUT, Stage, greedy, stages, truncation_points
from fluxshard.evaluate.calibration.search_log import SearchLog, frontier_facts
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Reuse
from fluxshard.evaluate.traces.workers import Setup, WorkerPool
from fluxshard.ir.plan import Plan
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest, weights_digest


@dataclass(frozen=True, slots=True)
class CalibratedNetwork:
    """Plan and identity of the network under calibration.

    Attributes:
      plan: plan at the image size of the calibration.
      network_digest: `runtime.threshold_profile.network_digest` of the plan.
      weights_digest: `runtime.threshold_profile.weights_digest` of the plan and its weights.
      takes_canvas: it can be compiled for a larger canvas; a saved model cannot.
    """

    plan: Plan
    network_digest: str
    weights_digest: str
    takes_canvas: bool = True

    @property
    def canvas_px(self) -> int:
        """Canvas to try, pixels per axis beyond the image; 0 tries none."""
        return self.plan.s_max if self.takes_canvas else 0


@dataclass(frozen=True, slots=True)
class DenseBaseline:
    """Results of the dense network, shared by all accuracy budgets on the same clips.

    Attributes:
      network: the network under calibration.
      objective: dense traces and accuracies that candidate thresholds are measured against.
    """

    network: CalibratedNetwork
    objective: Objective


@dataclass(frozen=True, slots=True)
class ProgressCallbacks:
    """Callbacks that report progress.

    Attributes:
      frames: receives the number of frames done since its last call.
      step: receives one line of text per finished step.
    """

    frames: Callable[[int], None] = lambda _: None
    step: Callable[[str], None] = lambda _: None


def inspect_network(setup: Setup, clip: Clip) -> CalibratedNetwork:
    """Loads the network and lowers it at the image size that a clip gives it.

    Raises:
      OptionError: the meaning of the network's outputs is unknown, or the network does not take the size.
    """
    loaded = load(setup.weights, setup.task)
    with video.open(clip.source, max_frames=1) as source:
        shape = network_shape(setup.size, source.shown_size, loaded)
    model = CompiledNetwork(loaded, shape, CompileOptions(backend="reference")).model()
    import torch

    model.specialise(torch.zeros(1, 3, *shape))
    return CalibratedNetwork(
        model.plan, network_digest(model.plan), weights_digest(model.plan, model.weights), loaded.saved is None
    )


def calibrate(
    request: Calibration, setup: Setup, pool: WorkerPool, log_path: Path, progress: ProgressCallbacks | None = None
) -> tuple[ThresholdProfile, bool]:
    """Runs the dense network, then searches for the thresholds of least compute within the accuracy budget.

    Args:
      request: clips, policy and accuracy budget.
      setup: network and image size; the pool must have been made with the same.
      pool: worker processes that run the network.
      log_path: file of measured points; an interrupted search resumes from it.
      progress: callbacks; None reports nothing.

    Returns:
      the threshold profile, and whether it is within the budget. If no point is, the profile is the most accurate point
      measured, and its facts state the accuracy that it reaches.

    Raises:
      EvaluationError: the clips are too short, lack required annotations, or the dense network detects nothing in one.
    """
    return find_thresholds(request, run_dense(request, setup, pool, progress), pool, log_path, progress)


def run_dense(
    request: Calibration, setup: Setup, pool: WorkerPool, progress: ProgressCallbacks | None = None
) -> DenseBaseline:
    """Runs the dense network over the clips; the result does not depend on policy or budget.

    Args:
      request: clips and measure of accuracy.
      setup: network and image size; the pool must have been made with the same.
      pool: worker processes that run the network.
      progress: callbacks; None reports nothing.

    Raises:
      EvaluationError: the clips are too short, lack required annotations, or the dense network detects nothing in one.
    """
    progress = progress or ProgressCallbacks()
    network = inspect_network(setup, request.clips[0])
    progress.step("dense network")
    return DenseBaseline(network, prepare_objective(request, pool, progress.frames))


def find_thresholds(
    request: Calibration,
    baseline: DenseBaseline,
    pool: WorkerPool,
    log_path: Path,
    progress: ProgressCallbacks | None = None,
) -> tuple[ThresholdProfile, bool]:
    """Searches for the thresholds of least compute within the accuracy budget.

    Args:
      request: clips, policy and accuracy budget.
      baseline: result of `run_dense` on the same clips.
      pool: worker processes that run the network.
      log_path: file of measured points; an interrupted search resumes from it.
      progress: callbacks; None reports nothing.

    Returns:
      as `calibrate`.
    """
    progress = progress or ProgressCallbacks()
    network, objective = baseline.network, baseline.objective
    facts = {
        "network": network.network_digest,
        "weights": network.weights_digest,
        "size": list(network.plan.image_size),
    }
    if request.policy == "planned":
        method, best, measured = _planned(request, objective, pool, network, log_path, facts, progress)
    else:
        method, best, measured = _propagated(request, objective, pool, network, progress)
    threshold_profile = ThresholdProfile(
        reuse=method.options,
        canvas_px=method.canvas_px,
        network=network.network_digest,
        weights=network.weights_digest,
        facts={
            **facts,
            "plan": network.plan.name,
            "policy": request.policy,
            "alpha": request.alpha,
            "measure": _described(objective),
            "accuracy_dense": objective.accuracy,
            "accuracy_kept": best.accuracy,
            "compute_ratio": best.work,
            "within_budget": best.accuracy >= request.alpha,
            "clips": [clip.name for clip in request.clips],
            "frames": {name: len(trace.frames) for name, trace in sorted(objective.dense.items())},
            "frontier": frontier_facts(measured),
            "machine": platform.machine(),
        },
    )
    return threshold_profile, best.accuracy >= request.alpha


def _described(objective: Objective) -> str:
    """Definition of the accuracy measure, as threshold profiles state it."""
    if objective.measure == "jaccard":
        return "best mask IoU with the annotated object, averaged over confidences 0.15 to 0.5"
    return "agreement with the dense network's objects, averaged over confidences 0.15 to 0.5"


def _planned(
    request: Calibration,
    objective: Objective,
    pool: WorkerPool,
    network: CalibratedNetwork,
    log_path: Path,
    facts: dict[str, Any],
    progress: ProgressCallbacks,
) -> tuple[Reuse, MeasuredPoint, list[MeasuredPoint]]:
    """Method, its point and all measured points of planned reuse."""
    canvas_px = network.canvas_px
    log = SearchLog(log_path, search_key(request, objective, canvas_px, facts))

    def report_point(point: MeasuredPoint, count: int) -> None:
        progress.step(_line(f"point {count}", point))

    best, measured = search_planned(
        request, objective, pool, log, canvas_px, on_point=report_point, on_frames=progress.frames
    )
    if best is None:
        best = max(measured, key=lambda point: (point.accuracy, -point.work))
    names = {dimension.name for dimension in dimensions(canvas_px)}
    return method_at({name: best.point[name] for name in names}), best, measured


def _propagated(
    request: Calibration,
    objective: Objective,
    pool: WorkerPool,
    network: CalibratedNetwork,
    progress: ProgressCallbacks,
) -> tuple[Reuse, MeasuredPoint, list[MeasuredPoint]]:
    """Method, its point and all measured points of propagated reuse."""
    base = Reuse(name="propagated", family="propagated", options=ReuseOptions())

    def at(thresholds: dict[str, float]) -> Reuse:
        layers = {name: tau for name, tau in thresholds.items() if name != INPUT}
        return replace(base, options=ReuseOptions(tau_input=thresholds.get(INPUT, 0.0), tau=layers))

    def evaluate(thresholds: dict[str, float]) -> tuple[float, float]:
        return measure_method(at(thresholds), request, objective, pool, progress.frames)

    def report_stage(stage: Stage, tau: float, point: MeasuredPoint) -> None:
        progress.step(_line(f"{stage.name}: tau {tau:g}", point))

    points = truncation_points(network.plan, request.truncation_points)
    chosen, best, measured = greedy(stages(points, request.alpha, request.split), evaluate, 1.0, report_stage)
    return at(chosen), best, measured


def _line(what: str, point: MeasuredPoint) -> str:
    return f"{what}: compute {point.work:.3f}, accuracy {point.accuracy:.4f} of dense"
