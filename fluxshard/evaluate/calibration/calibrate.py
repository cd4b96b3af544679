"""From clips and weights to a profile: what `fluxshard calibrate` does."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluxshard import video
from fluxshard.evaluate.calibration.coordinate_descent import Visited
from fluxshard.evaluate.calibration.objective import (
    Calibration,
    Objective,
    SearchLog,
    frontier_facts,
    measure_method,
    prepare_ground,
)
from fluxshard.evaluate.calibration.planned_search import dimensions, method_at, question, search_planned
from fluxshard.evaluate.calibration.propagated_search import INPUT, Stage, greedy, stages, truncation_points
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
class Network:
    """The network that is calibrated.

    Attributes:
      plan: at the calibration's size.
      network, weights: digests.
    """

    plan: Plan
    network: str
    weights: str


@dataclass(frozen=True, slots=True)
class DenseBaseline:
    """What is found out once for all budgets on the same clips.

    Attributes:
      network: that is calibrated.
      ground: what points are measured against.
    """

    network: Network
    ground: Objective


@dataclass(frozen=True, slots=True)
class ProgressCallbacks:
    """Who is told of progress.

    Attributes:
      frames: called with frames done.
      step: called with a line that says what was measured.
    """

    frames: Callable[[int], None] = lambda _: None
    step: Callable[[str], None] = lambda _: None


def look_at(setup: Setup, clip: Clip) -> Network:
    """Lowers the network for the size that a clip gives it.

    Raises:
      OptionError: the outputs of the network are not known, or the size does not fit it.
    """
    loaded = load(setup.weights, setup.task)
    with video.open(clip.source, max_frames=1) as source:
        shape = network_shape(setup.size, source.picture_size, loaded)
    model = CompiledNetwork(loaded, shape, CompileOptions(backend="reference")).model()
    import torch

    model.specialise(torch.zeros(1, 3, *shape))
    return Network(model.plan, network_digest(model.plan), weights_digest(model.plan, model.weights))


def calibrate(
    request: Calibration, setup: Setup, pool: WorkerPool, log_path: Path, watch: ProgressCallbacks | None = None
) -> tuple[ThresholdProfile, bool]:
    """Runs the dense network, then finds the thresholds of least work within the budget.

    Args:
      request: what is asked for.
      setup: of the pool.
      pool: runs the network.
      log_path: where points are kept; a search that was stopped goes on from there.
      watch: who is told of progress.

    Returns:
      the profile, and whether it is within the budget; if not, it is the most accurate one that was seen, and its facts
      say what it reaches.

    Raises:
      EvaluationError: clips that cannot be calibrated on.
    """
    return find_thresholds(request, run_dense(request, setup, pool, watch), pool, log_path, watch)


def run_dense(
    request: Calibration, setup: Setup, pool: WorkerPool, watch: ProgressCallbacks | None = None
) -> DenseBaseline:
    """What does not depend on the budget; arguments are as for `calibrate`.

    Raises:
      EvaluationError: clips that cannot be calibrated on.
    """
    watch = watch or ProgressCallbacks()
    network = look_at(setup, request.clips[0])
    watch.step("dense network")
    return DenseBaseline(network, prepare_ground(request, pool, watch.frames))


def find_thresholds(
    request: Calibration, known: DenseBaseline, pool: WorkerPool, log_path: Path, watch: ProgressCallbacks | None = None
) -> tuple[ThresholdProfile, bool]:
    """Finds the thresholds of least work within the budget.

    Args:
      request: what is asked for.
      known: from `run_dense` for the same clips.
      pool, log_path, watch: as for `calibrate`.

    Returns:
      as `calibrate`.
    """
    watch = watch or ProgressCallbacks()
    network, ground = known.network, known.ground
    facts = {"network": network.network, "weights": network.weights, "size": list(network.plan.image_size)}
    if request.policy == "planned":
        method, reached, seen = _planned(request, ground, pool, network, log_path, facts, watch)
    else:
        method, reached, seen = _propagated(request, ground, pool, network, watch)
    kept = reached.accuracy
    profile = ThresholdProfile(
        reuse=method.options,
        canvas_px=method.canvas_px,
        network=network.network,
        weights=network.weights,
        facts={
            **facts,
            "plan": network.plan.name,
            "policy": request.policy,
            "alpha": request.alpha,
            "measure": _described(ground),
            "accuracy_dense": ground.accuracy,
            "accuracy_kept": kept,
            "compute_ratio": reached.work,
            "within_budget": kept >= request.alpha,
            "clips": [clip.name for clip in request.clips],
            "frames": {name: len(trace.frames) for name, trace in sorted(ground.dense.items())},
            "frontier": frontier_facts(seen),
            "machine": platform.machine(),
        },
    )
    return profile, kept >= request.alpha


def _described(ground: Objective) -> str:
    if ground.measure == "jaccard":
        return "best mask IoU with the annotated object, averaged over confidences 0.15 to 0.5"
    return "agreement with the dense network's objects, averaged over confidences 0.15 to 0.5"


def _planned(
    request: Calibration,
    ground: Objective,
    pool: WorkerPool,
    network: Network,
    log_path: Path,
    facts: dict[str, Any],
    watch: ProgressCallbacks,
) -> tuple[Reuse, Visited, list[Visited]]:
    canvas_px = network.plan.s_max
    log = SearchLog(log_path, question(request, ground, canvas_px, facts))

    def told(visited: Visited, count: int) -> None:
        watch.step(_line(f"point {count}", visited))

    best, seen = search_planned(request, ground, pool, log, canvas_px, on_point=told, on_frames=watch.frames)
    if best is None:
        best = max(seen, key=lambda visited: (visited.accuracy, -visited.work))
    names = {dimension.name for dimension in dimensions(canvas_px, ground.measure)}
    return method_at({name: best.point[name] for name in names}), best, seen


def _propagated(
    request: Calibration, ground: Objective, pool: WorkerPool, network: Network, watch: ProgressCallbacks
) -> tuple[Reuse, Visited, list[Visited]]:
    base = Reuse(name="propagated", family="propagated", options=ReuseOptions())

    def at(thresholds: dict[str, float]) -> Reuse:
        layers = {name: tau for name, tau in thresholds.items() if name != INPUT}
        return replace(base, options=ReuseOptions(tau_input=thresholds.get(INPUT, 0.0), tau=layers))

    def evaluate(thresholds: dict[str, float]) -> tuple[float, float]:
        return measure_method(at(thresholds), request, ground, pool, watch.frames)

    def told(stage: Stage, tau: float, visited: Visited) -> None:
        watch.step(_line(f"{stage.name}: tau {tau:g}", visited))

    points = truncation_points(network.plan, request.truncation_points)
    chosen, best, seen = greedy(stages(points, request.alpha, request.split), evaluate, 1.0, told)
    return at(chosen), best, seen


def _line(what: str, visited: Visited) -> str:
    return f"{what}: compute {visited.work:.3f}, accuracy {visited.accuracy:.4f} of dense"
