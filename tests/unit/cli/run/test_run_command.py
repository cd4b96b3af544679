"""How `fluxshard run` wires model, session and dense network together."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch

import fluxshard
from fluxshard.cli.run.run_command import (
    RunRequest,
    _check_pipeline,
    _dense_baseline,
    _loop,
    check,
    for_network,
)
from fluxshard.cli.support.network_flags import PreparedModel
from fluxshard.cli.support.reuse_flags import ReuseFlags, RunReuse, settle
from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.tasks.class_map import SemanticHead
from fluxshard.models.tasks.ranking import ClassifyHead
from fluxshard.models.tasks.value_map import DepthHead, ValueHead
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.saliency.output_saliency import TAU_BACKGROUND
from fluxshard.testing.fake_session import YOLO_LIKE, FakeSession


def model_of(loaded: LoadedModel, canvas_px: int = 0, dtype: str = "float32") -> PreparedModel:
    compiled = cast(fluxshard.CompiledModel, SimpleNamespace(device=torch.device("cpu"), dtype=dtype))
    return PreparedModel(loaded=loaded, compiled=compiled, shape=(64, 96), canvas_px=canvas_px)


def request_of(tmp_path, **more) -> RunRequest:
    return RunRequest(video="v.mp4", model=tmp_path / "m.pt", out=tmp_path, **more)


@pytest.mark.parametrize(
    ("policy", "confidence", "lowest"), [("planned", 0.25, 0.1), ("planned", 0.05, 0.05), ("propagated", 0.25, 0.25)]
)
def test_planned_reuse_is_told_of_fainter_objects_than_are_shown(policy, confidence, lowest, tmp_path):
    reuse, stream = settle(ReuseFlags(policy=policy)), FakeSession()
    request = request_of(tmp_path, confidence=confidence, iou=0.6)
    loop = _loop(request, reuse, model_of(YOLO_LIKE, 32), stream)
    assert loop.session is stream and loop.device.device == torch.device("cpu")
    assert loop.objects == (reuse.options.planned if policy == "planned" else None)
    assert (loop.detect.shape, loop.detect.confidence, loop.detect.iou) == ((96, 128), lowest, 0.6)


def test_a_network_without_a_task_has_no_head(tmp_path):
    model = model_of(LoadedModel(torch.nn.Conv2d(3, 2, 1)))
    assert _loop(request_of(tmp_path), settle(ReuseFlags()), model, FakeSession()).detect is None
    assert _dense_baseline(request_of(tmp_path), model).detect is None


def test_without_a_head_regions_are_where_the_outputs_change(tmp_path):
    raw, request = LoadedModel(torch.nn.Conv2d(3, 2, 1)), request_of(tmp_path)
    shipped = settle(ReuseFlags())
    reuse = for_network(shipped, raw)
    assert reuse.options.planned == replace(shipped.options.planned, tau_background=TAU_BACKGROUND)
    assert _loop(request, reuse, model_of(raw, 32), FakeSession()).saliency.size == (96, 128)
    assert for_network(shipped, YOLO_LIKE) is shipped
    assert _loop(request, shipped, model_of(YOLO_LIKE), FakeSession()).saliency is None


def test_no_saliency_where_it_would_change_no_threshold(tmp_path):
    raw, request = LoadedModel(torch.nn.Conv2d(3, 2, 1)), request_of(tmp_path)
    propagated = settle(ReuseFlags(policy="propagated"))
    assert for_network(propagated, raw) is propagated
    one = RunReuse(options=ReuseOptions(policy="planned", planned=PlannedOptions(tau_background=None)))
    for reuse in (propagated, one):
        assert _loop(request, reuse, model_of(raw), FakeSession()).saliency is None


@pytest.mark.parametrize("canvas_px", [0, 32])
def test_dense_detections_are_those_of_the_image(canvas_px, tmp_path):
    baseline = _dense_baseline(request_of(tmp_path, confidence=0.3), model_of(YOLO_LIKE, canvas_px))
    assert (baseline.detect.shape, baseline.detect.confidence) == ((64, 96), 0.3)
    assert baseline.pairs == (canvas_px == 0)


def test_a_dense_network_that_does_not_run_in_half_precision(tmp_path):
    class Single(torch.nn.Conv2d):
        def forward(self, image):
            return super().forward(image.float())

    with pytest.raises(OptionError, match=r"^--compare dense: .* does not run in float16 on cpu \(.*\); use --dtype"):
        _dense_baseline(request_of(tmp_path), model_of(LoadedModel(Single(3, 4, 1)), dtype="float16"))


@pytest.mark.parametrize(
    ("policy", "canvas_px", "loaded", "words"),
    [
        ("propagated", 0, YOLO_LIKE, "is for --policy planned"),
        ("planned", 32, YOLO_LIKE, "does not go with a canvas"),
        ("planned", 0, LoadedModel(torch.nn.Conv2d(3, 2, 1)), "needs a network whose detections are known"),
    ],
)
def test_where_results_cannot_be_carried(policy, canvas_px, loaded, words, tmp_path):
    reuse, model = settle(ReuseFlags(policy=policy)), model_of(loaded, canvas_px)
    with pytest.raises(OptionError, match=f"--skip-budget {words}"):
        _check_pipeline(request_of(tmp_path, skip_budget=0.1), reuse, model)
    with pytest.raises(OptionError, match=f"--alpha {words}"):
        _check_pipeline(request_of(tmp_path, alpha=0.9), reuse, model)
    _check_pipeline(request_of(tmp_path), reuse, model)


def test_results_are_carried_where_there_is_a_budget(tmp_path):
    class Glancing(FakeSession):
        def glance(self, image, motion=None):
            raise AssertionError

    reuse, stream = settle(ReuseFlags(policy="planned")), Glancing()
    assert _loop(request_of(tmp_path), reuse, model_of(YOLO_LIKE), stream).carrier is None
    assert _loop(request_of(tmp_path, skip_budget=0.1), reuse, model_of(YOLO_LIKE), stream).carrier is not None
    with pytest.raises(OptionError, match="skip budget"):
        check(request_of(tmp_path, skip_budget=2.0))


def test_thresholds_follow_the_scene_where_a_share_is_to_be_kept(tmp_path):
    reuse, stream = settle(ReuseFlags(policy="planned")), FakeSession()
    assert _loop(request_of(tmp_path), reuse, model_of(YOLO_LIKE), stream).calibration is None
    assert stream.scales == []
    calibration = _loop(request_of(tmp_path, alpha=0.95), reuse, model_of(YOLO_LIKE), stream).calibration
    assert calibration.scale == stream.scales[-1] == pytest.approx(0.5)
    with pytest.raises(OptionError, match="alpha"):
        check(request_of(tmp_path, alpha=1.0))


@pytest.mark.parametrize(
    ("task", "kind"), [("semantic", SemanticHead), ("classify", ClassifyHead), ("depth", DepthHead), ("raw", ValueHead)]
)
def test_tasks_without_detections_are_read_on_the_canvas_and_dense_on_the_image(task, kind, tmp_path):
    model = model_of(LoadedModel(torch.nn.Conv2d(3, 2, 1), task), 32)
    loop = _loop(request_of(tmp_path), settle(ReuseFlags()), model, FakeSession())
    dense = _dense_baseline(request_of(tmp_path), model)
    assert isinstance(loop.read, kind) and isinstance(dense.read, kind) and loop.detect is None
    assert [getattr(read, "shape", size) for read, size in ((loop.read, (96, 128)), (dense.read, (64, 96)))] == [
        (96, 128), (64, 96),
    ]  # fmt: skip


def test_a_detector_needs_no_other_reader(tmp_path):
    assert _loop(request_of(tmp_path), settle(ReuseFlags()), model_of(YOLO_LIKE), FakeSession()).read is None
    assert _dense_baseline(request_of(tmp_path), model_of(YOLO_LIKE)).read is None
