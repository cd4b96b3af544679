"""Evaluation and calibration for real: weights, a filmed sequence with annotations, and processes of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fluxshard
from fluxshard.errors import ProfileError
from fluxshard.evaluate.calibration.calibrate import CalibratedNetwork, calibrate, inspect_network
from fluxshard.evaluate.calibration.objective import Calibration
from fluxshard.evaluate.calibration.propagated_search import truncation_points
from fluxshard.evaluate.data.clips import Clip, find_clips, prepare
from fluxshard.evaluate.methods.method import Method, dense_method
from fluxshard.evaluate.methods.method_sets import propagated
from fluxshard.evaluate.metrics.search_accuracy import accuracies
from fluxshard.evaluate.runner import Runner
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.trace_store import StoredTrace
from fluxshard.evaluate.traces.workers import Setup, Task, WorkerPool
from fluxshard.models.loading.load import load

pytestmark = pytest.mark.filterwarnings("ignore:.*runs Python code:UserWarning")
CLIPS = ("car-roundabout", "dog")
FRAMES = 12
METHODS: tuple[Method, ...] = (dense_method(), propagated(0.06, 0.4))


@pytest.fixture(scope="module")
def setup(data_dir: Path) -> Setup:
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    weights = data_dir / "weights" / "yolo11n-seg.pt"
    if not weights.exists():
        pytest.skip(f"no {weights}")
    # the reference starts at once; C++ kernels for three sizes would take longer to compile than all that follows
    return Setup(weights=weights, size="256", backend="reference", max_frames=FRAMES)


@pytest.fixture(scope="module")
def clips(data_dir: Path) -> tuple[Clip, ...]:
    davis = data_dir / "davis"
    if not davis.is_dir():
        pytest.skip(f"no {davis}")
    found = {clip.name: clip for clip in find_clips([davis])}
    if not set(CLIPS) <= set(found):
        pytest.skip(f"no {' or '.join(CLIPS)} in {davis}")
    return tuple(found[name] for name in CLIPS)


@pytest.fixture(scope="module")
def pool(setup: Setup, clips: tuple[Clip, ...]) -> Iterator[WorkerPool]:
    with WorkerPool(setup, 1) as one:
        yield one


@pytest.fixture(scope="module")
def network(setup: Setup, clips: tuple[Clip, ...]) -> CalibratedNetwork:
    return inspect_network(setup, clips[0])


@pytest.fixture(scope="module")
def alone(pool: WorkerPool, clips: tuple[Clip, ...]) -> dict[tuple[str, str], Trace]:
    """Traces by method and clip, from one process."""
    finished = list(pool.run([Task(method, clip) for method in METHODS for clip in clips]))
    for one in finished:
        assert one.annotations is not None and len(one.annotations) == len(one.trace.frames) == FRAMES
    return {(one.trace.method, one.trace.clip): one.trace for one in finished}


def without_latency(trace: Trace) -> str:
    return repr(replace(trace, frames=tuple(replace(frame, latency_ms=0.0) for frame in trace.frames)))


def test_the_dense_network_agrees_with_itself(alone: dict[tuple[str, str], Trace]) -> None:
    for clip in CLIPS:
        dense, other = alone["dense", clip], alone[METHODS[1].name, clip]
        values = accuracies(dense, dense)
        assert values.shape == (FRAMES - 1,) and values == pytest.approx(np.ones(FRAMES - 1))
        assert all(frame.objects and frame.compute_ratio == 1 for frame in dense.frames)
        assert all(one.mask is not None for frame in dense.frames for one in frame.objects)
        assert 0.3 < np.mean(accuracies(other, dense)) < 1
        assert np.mean([frame.compute_ratio for frame in other.frames[1:]]) < 1
        assert len({frame.motion_px for frame in dense.frames}) > 2


def test_two_processes_find_what_one_finds_and_their_traces_are_kept(
    setup: Setup, clips: tuple[Clip, ...], alone: dict[tuple[str, str], Trace], tmp_path: Path
) -> None:
    runner = Runner(setup, tmp_path)
    lines: list[str] = []
    stored: list[StoredTrace] = runner.run(
        [(method, clip) for method in METHODS for clip in clips], workers=2, on_trace=lines.append
    )
    assert len(lines) == 4
    for one in stored:
        trace = Trace.load(one.path)
        # through a file, as the others came through a pipe: tuples of facts, and every bit of every number
        assert without_latency(trace) == without_latency(alone[trace.method, trace.clip])
    scores = {(one.method, one.clip): one for one in runner.score(stored, workers=1)}
    for clip in clips:
        dense = scores["dense", clip.name]
        assert dense.f1 == 1 and dense.miou == pytest.approx(1)
        assert dense.jaccard is not None and dense.jaccard > 0.3
        prepared = prepare(clip, (64, 64), 2)
        assert prepared.annotations is not None and prepared.annotations[0].any()


def test_a_profile_within_its_budget_or_one_that_says_not(
    setup: Setup, clips: tuple[Clip, ...], pool: WorkerPool, network: CalibratedNetwork, data_dir: Path, tmp_path: Path
) -> None:
    request = Calibration(clips=clips[:1], alpha=0.9, most_points=3)
    profile, within = calibrate(request, setup, pool, tmp_path / "log")
    facts = profile.facts
    assert facts["within_budget"] == within == (facts["accuracy_kept"] >= 0.9)
    assert facts["measure"].startswith("best mask IoU") and facts["size"] == [160, 256]
    assert 0 < facts["compute_ratio"] < 1 and 0.3 < facts["accuracy_dense"] < 1 and 0.5 < facts["accuracy_kept"] <= 1
    assert len((tmp_path / "log").read_text().splitlines()) == 3
    assert (profile.network, profile.weights) == (network.network_digest, network.weights_digest)

    path = tmp_path / "car.json"
    profile.save(path)
    assert json.loads(path.read_text())["facts"]["clips"] == ["car-roundabout"]
    reuse = fluxshard.ReuseOptions(profile=path)
    options = fluxshard.CompileOptions(backend="reference", canvas_px=profile.canvas_px)
    prepared = prepare(clips[0], (160, 256), 2)
    with fluxshard.compile(load(setup.weights).net, options=options).session(reuse) as session:
        for index in range(2):
            session.run(prepared.image(index), prepared.motion[index])
        assert session.reuse == profile.reuse and not session.stats.keyframe and session.stats.compute_ratio < 1
    other = data_dir / "weights" / "yolo11n.pt"
    if not other.exists():
        pytest.skip(f"no {other} to refuse the profile")
    with (
        fluxshard.compile(load(other).net, options=options).session(reuse) as session,
        pytest.raises(ProfileError, match="belongs to another network"),
    ):
        session.run(prepared.image(0))


def test_layers_that_get_thresholds(network: CalibratedNetwork) -> None:
    """Attention of the backbone, whose result is read, and twelve activated layers or fewer besides."""
    points = truncation_points(network.plan, 12)
    order = [layer.name for layer in network.plan.layers]
    islands = {layer.name for layer in network.plan.layers if layer.op == "island"}
    assert islands & set(points) and 8 <= len(set(points) - islands) <= 12
    assert [order.index(name) for name in points] == sorted(order.index(name) for name in points)
