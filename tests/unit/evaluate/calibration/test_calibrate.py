"""Calibration from clips to a threshold profile, with a detector of known results and without processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
import torch
from PIL import Image

import fluxshard
from fluxshard.errors import ProfileError
from fluxshard.evaluate.calibration import calibrate as module
from fluxshard.evaluate.calibration import planned_search
from fluxshard.evaluate.calibration.calibrate import ProgressCallbacks, calibrate, inspect_network
from fluxshard.evaluate.calibration.objective import Calibration
from fluxshard.evaluate.calibration.propagated_search import CANDIDATES, INPUT_CANDIDATES
from fluxshard.evaluate.data.clips import Clip, PreparedClip, prepare
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Reuse, dense_method
from fluxshard.evaluate.methods.method_sets import NamedThresholdProfile, method_of_threshold_profile
from fluxshard.evaluate.metrics.search_accuracy import accuracies
from fluxshard.evaluate.traces.tracing import trace_clip
from fluxshard.evaluate.traces.workers import FinishedTask, Setup, Task, WorkerPool
from fluxshard.options import PlannedOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest, weights_digest
from fluxshard.testing.evaluation import PoolOf, bright_network, pool_on
from fluxshard.testing.networks import BrightCells, bright_model

SETUP = Setup(weights=Path("bright.pt"), size="32x48")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Seven pictures over a texture: a bright square jumps, one flickers by 2 %, and one stands still."""
    folder = tmp_path_factory.mktemp("clips") / "street"
    folder.mkdir()
    texture = np.random.default_rng(0).integers(0, 80, (32, 48, 3))
    for index in range(7):
        picture = texture.copy()
        picture[0:8, 0:8] = 240
        picture[16:24, 8:16] = 200 + 5 * (index % 2)
        picture[8:16, 40 - 8 * (index // 2) : 48 - 8 * (index // 2)] = 220
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index}.png")
    return Clip("street", folder)


@pytest.fixture(scope="module")
def prepared(clip: Clip) -> PreparedClip:
    return prepare(clip, (32, 48))


@pytest.fixture(scope="module")
def network() -> CompiledNetwork:
    return bright_network()


@pytest.fixture(autouse=True)
def _bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load", lambda *_: bright_model())


def found_by(
    pool: PoolOf, clip: Clip, folder: Path, progress: ProgressCallbacks | None = None, **wanted: object
) -> tuple[ThresholdProfile, bool]:
    request = Calibration(clips=(clip,), **wanted)  # type: ignore[arg-type]
    return calibrate(request, SETUP, cast(WorkerPool, pool), folder / "log", progress)


@pytest.mark.parametrize("policy", ["planned", "propagated"])
def test_a_profile_does_what_it_says(
    policy: Literal["planned", "propagated"],
    clip: Clip,
    prepared: PreparedClip,
    network: CompiledNetwork,
    tmp_path: Path,
) -> None:
    steps, frames = list[str](), list[int]()
    pool = pool_on(network, [prepared])
    profile, within = found_by(
        pool, clip, tmp_path, ProgressCallbacks(frames.append, steps.append), policy=policy, most_points=12, alpha=0.9
    )
    assert within and profile.reuse.policy == policy
    facts = profile.facts
    json.dumps(dict(facts))
    assert facts["within_budget"] is True and facts["accuracy_kept"] >= 0.9 and facts["compute_ratio"] < 0.6
    assert (facts["alpha"], facts["policy"], facts["clips"], facts["frames"]) == (
        0.9,
        policy,
        ["street"],
        {"street": 7},
    )
    assert facts["size"] == [32, 48] and facts["accuracy_dense"] == 1 and "agreement" in facts["measure"]
    works = [point["work"] for point in facts["frontier"]]
    assert works == sorted(works) and facts["compute_ratio"] in works
    assert steps[0] == "dense network" and len(steps) > 2 and sum(frames) == 7 * len(pool.ran)

    # run again, the profile gives what its facts say
    profile.save(tmp_path / "street.json")
    loaded = ThresholdProfile.load(tmp_path / "street.json")
    trace = trace_clip(method_of_threshold_profile(NamedThresholdProfile("p", loaded)), network, prepared)
    dense = trace_clip(dense_method(), network, prepared)
    assert np.mean([frame.compute_ratio for frame in trace.frames[1:]]) == pytest.approx(facts["compute_ratio"])
    assert np.nanmean(accuracies(trace, dense)) == pytest.approx(facts["accuracy_kept"])

    # it belongs to this network and no other
    model = network.model(loaded.canvas_px)
    options = fluxshard.ReuseOptions(profile=tmp_path / "street.json")
    with model.session(options) as session:
        session.run(prepared.image(0))
        assert session.reuse == loaded.reuse
    other = BrightCells().eval()
    torch.nn.init.constant_(other.mean.weight, 0.01)
    compiled = fluxshard.compile(
        other, options=fluxshard.CompileOptions(backend="reference", canvas_px=loaded.canvas_px)
    )
    with compiled.session(options) as session, pytest.raises(ProfileError, match="other weights"):
        session.run(prepared.image(0))


def test_a_planned_search_that_was_stopped_goes_on(
    clip: Clip, prepared: PreparedClip, network: CompiledNetwork, tmp_path: Path
) -> None:
    whole = pool_on(network, [prepared])
    expected = found_by(whole, clip, tmp_path, most_points=8)
    (tmp_path / "again").mkdir()
    first, second, third = (pool_on(network, [prepared]) for _ in range(3))
    found_by(first, clip, tmp_path / "again", most_points=3)
    assert len(first.ran) == 1 + 3  # the dense network, and three points
    assert found_by(second, clip, tmp_path / "again", most_points=5) == expected
    assert len(second.ran) == 1 + 5
    assert (
        found_by(third, clip, tmp_path / "again", most_points=1)[0].facts["frontier"] == expected[0].facts["frontier"]
    )
    assert len(third.ran) <= 1 + 1
    assert len((tmp_path / "again" / "log").read_text().splitlines()) >= 8


def worse(pool: PoolOf, change: Callable[[Task, FinishedTask], FinishedTask]) -> PoolOf:
    """A pool whose results, but for the dense network's, are changed."""

    def result(task: Task) -> FinishedTask:
        (finished,) = pool.run([task])
        return finished if task.method.name == "dense" else change(task, finished)

    return PoolOf(result)


@pytest.mark.parametrize("policy", ["planned", "propagated"])
def test_a_budget_that_cannot_be_met_gives_the_most_accurate_thresholds(
    policy: str, clip: Clip, prepared: PreparedClip, network: CompiledNetwork, tmp_path: Path
) -> None:
    """Whatever is tried loses one object of three in every frame, and some settings lose two."""

    def lose(task: Task, finished: FinishedTask) -> FinishedTask:
        options = cast(Reuse, task.method).options
        lost = 1 if options.planned.tau_background == PlannedOptions().tau_background else 2
        frames = tuple(replace(frame, objects=frame.objects[lost:]) for frame in finished.trace.frames)
        return replace(finished, trace=replace(finished.trace, frames=frames))

    pool = worse(pool_on(network, [prepared]), lose)
    profile, within = found_by(pool, clip, tmp_path, policy=policy, most_points=4)
    assert not within and profile.facts["within_budget"] is False
    assert profile.facts["accuracy_kept"] == pytest.approx(0.8, abs=0.05)  # 2 * 2 of 3 + 2, where all else agrees


def test_thresholds_and_canvas_of_the_profile_are_those_of_its_point(
    clip: Clip, prepared: PreparedClip, network: CompiledNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One point is measured: the shipped thresholds, on a canvas that is larger by the largest stride."""
    starts = planned_search.dimensions
    monkeypatch.setattr(
        planned_search,
        "dimensions",
        lambda canvas_px: tuple(replace(one, start=1) if one.name == "canvas_px" else one for one in starts(canvas_px)),
    )
    profile, within = found_by(pool_on(network, [prepared]), clip, tmp_path, most_points=1, alpha=0.5)
    assert within and profile.canvas_px == 8 and profile.reuse.planned.tau == PlannedOptions().tau
    (point,) = profile.facts["frontier"]
    assert point["point"]["canvas_px"] == 8 and point["work"] == profile.facts["compute_ratio"]


def test_propagated_thresholds_are_candidates_of_layers_that_exist(
    clip: Clip, prepared: PreparedClip, network: CompiledNetwork, tmp_path: Path
) -> None:
    profile, _ = found_by(pool_on(network, [prepared]), clip, tmp_path, policy="propagated", alpha=0.9)
    assert isinstance(profile.reuse.tau, dict) and set(profile.reuse.tau) == {"mean"}
    assert profile.reuse.tau_input in INPUT_CANDIDATES and profile.reuse.tau["mean"] in CANDIDATES
    assert profile.reuse.tau_input > 0 and profile.canvas_px == 0
    without, _ = found_by(
        pool_on(network, [prepared]), clip, tmp_path, policy="propagated", alpha=0.9, truncation_points=0
    )
    assert without.reuse.tau == {}


def test_the_inspected_network_has_the_plan_and_digests_of_the_compiled_one(
    clip: Clip, network: CompiledNetwork
) -> None:
    inspected = inspect_network(SETUP, clip)
    model = network.model()
    model.specialise(torch.zeros(1, 3, 32, 48))
    assert inspected.plan.image_size == (32, 48)
    assert inspected.network_digest == network_digest(model.plan)
    assert inspected.weights_digest == weights_digest(model.plan, model.weights)
    long_side = inspect_network(replace(SETUP, size="96"), clip)
    assert long_side.plan.image_size == (64, 96) and long_side.network_digest == inspected.network_digest
