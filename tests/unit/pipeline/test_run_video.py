"""Frames of a video through the loop over stand-ins: records, lines, pictures and the comparison with dense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.errors import FluxShardError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.motion import MotionField
from fluxshard.options import SMALL_OBJECT, PlannedOptions
from fluxshard.pipeline.summary import summarise
from fluxshard.runtime.engines.engine import StepCounts
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.testing.fake_session import YOLO_LIKE, FakeSession, detection
from tests.unit.pipeline.frame_loop import read_lines, run_loop

ANY_SIZE = LoadedModel(torch.nn.Identity())


def test_every_frame_becomes_a_line_and_a_picture(tmp_path):
    stream, pictures = FakeSession(), []
    records = list(run_loop(tmp_path, stream, pictures=pictures, show_work=True))
    lines = read_lines(tmp_path)
    assert [line["frame"] for line in lines] == [record.frame for record in records] == [0, 1, 2, 3, 4]
    assert all(isinstance(motion, MotionField) for motion in stream.seen) and len(stream.seen) == 5
    assert lines[2]["detections"] == [{"class": 1, "name": "dog", "score": 0.9, "box": [44, 40, 84, 80]}]  # picture px
    assert lines[2]["compute_ratio"] == 0.2 and lines[2]["motion_source"] == "codec"
    assert lines[2]["agreement"] is None and lines[2]["dense_ms"] is None
    assert len(pictures) == 5 and pictures[0].shape == (128, 192, 3)
    assert (pictures[2][5, 5] != 60).any() and (pictures[2][5, 40] == 60).all()  # tinted where there was work


def test_dense_is_compared_and_takes_turns(tmp_path):
    order = []
    stream = FakeSession(drift=1.0)
    run = stream.run
    stream.run = lambda *a: (order.append("incremental"), run(*a))[1]

    def dense(image):
        order.append("dense")
        return detection(32.0)

    records = list(run_loop(tmp_path, stream, n=14, dense=dense))
    assert order[:4] == ["incremental", "dense", "dense", "incremental"]
    ious = [record.agreement.box_iou for record in records]
    assert ious[0] == pytest.approx(1) and ious[5] == pytest.approx(15 / 25)
    assert records[3].max_difference == 3.0
    assert records[10].agreement.matched == 0  # a third of overlap is no match
    summary = summarise(records, {"model": "m", "video": "v"})
    counted = records[1:]
    matched = sum(record.agreement.matched for record in counted)
    assert summary["agreement"]["f1"] == pytest.approx(matched / len(counted))
    assert summary["agreement"]["max_difference"] == 13.0
    assert summary["speedup"] == pytest.approx(
        np.median([r.dense_ms for r in counted]) / np.median([r.incremental_ms for r in counted])
    )


def test_outputs_without_a_meaning_are_summarised(tmp_path):
    loaded = LoadedModel(torch.nn.Identity())
    records = list(run_loop(tmp_path, FakeSession(), loaded=loaded, dense=lambda image: detection(32.0)))
    line = read_lines(tmp_path)[1]
    assert line["outputs"] == [{"shape": [1, 6, 20], "min": 0, "mean": pytest.approx(0.857, abs=0.01), "max": 32}]
    assert "detections" not in line and records[1].agreement is None and records[1].max_difference == 0


def test_what_is_found_on_a_canvas_lies_where_the_image_lies(tmp_path):
    """The image moves by (3, 5) px a frame over the canvas; what is reported stands still, as the dense network's."""
    stream = FakeSession(step=(3, 5))
    records = list(
        run_loop(tmp_path, stream, dense=lambda image: detection(32.0), canvas_px=32, planned=PlannedOptions())
    )
    lines = read_lines(tmp_path)
    assert [line["origin"] for line in lines] == [[0, 0], [3, 5], [6, 10], [9, 15], [12, 20]]
    for record, line in zip(records, lines, strict=True):
        assert line["detections"] == [{"class": 1, "name": "dog", "score": 0.9, "box": [44, 40, 84, 80]}]
        assert record.agreement.matched == 1 and record.agreement.box_iou == pytest.approx(1.0)
        assert record.max_difference is None  # detection of the canvas and of the image are no pairs
    assert len(stream.regions) == 5
    last = np.zeros((12, 16), np.uint8)  # (64 + 32) / 8, (96 + 32) / 8
    last[32 // 8 : 52 // 8 + 1, 42 // 8 : 62 // 8 + 1] = SMALL_OBJECT  # the box, 20..40 and 22..42, on the canvas
    assert np.array_equal(stream.regions[-1], last)


@pytest.mark.parametrize(
    ("score", "conf", "floor", "shown", "focused"),
    [(0.15, 0.25, 0.1, 0, True), (0.08, 0.05, 0.1, 1, False), (0.9, 0.25, 0.1, 1, True), (0.02, 0.25, 0.1, 0, False)],
)
def test_objects_are_regions_before_they_are_shown(score, conf, floor, shown, focused, tmp_path):
    stream = FakeSession(score=score)
    given = {"confidence": conf, "planned": PlannedOptions(region_confidence=floor)}
    records = list(run_loop(tmp_path, stream, n=2, dense=lambda image: detection(32.0), **given))
    assert [record.detections for record in records] == [shown] * 2
    assert [len(line["detections"]) for line in read_lines(tmp_path)] == [shown] * 2
    assert [bool(regions.any()) for regions in stream.regions] == [focused] * 2
    assert records[1].agreement.matched == shown and records[1].agreement.missed == 1 - shown


def test_streams_that_do_not_want_to_know_are_not_told(tmp_path):
    for name, loaded, objects in (("a", YOLO_LIKE, None), ("b", ANY_SIZE, PlannedOptions())):
        (tmp_path / name).mkdir()
        stream = FakeSession()
        list(run_loop(tmp_path / name, stream, n=3, loaded=loaded, planned=objects))
        assert stream.regions == [] and len(stream.seen) == 3


def test_work_on_a_canvas_is_drawn_where_it_was_done(tmp_path):
    stream, pictures = FakeSession(step=(8, 16)), []
    work = np.zeros((12, 16), np.float32)
    work[2, 3] = 1.0
    stream.work_map = lambda: work
    list(run_loop(tmp_path, stream, n=2, loaded=ANY_SIZE, pictures=pictures, show_work=True, canvas_px=32))
    for picture, (row, column) in zip(pictures, ((2, 3), (1, 1)), strict=True):
        tinted = (picture != 60).any(-1)[:100]  # above the caption
        expected = np.zeros_like(tinted)
        expected[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = (
            True  # 8 px of the image are 16 of the picture
        )
        assert np.array_equal(tinted, expected)


def test_planned_work_is_recorded(tmp_path):
    counts = StepCounts(keyframe=False, input_cells=1, candidates=np.array([20]), executed=np.array([True]))
    stream = FakeSession(planned=PlannedFrame(work={}, counts=counts, work_ratio=0.4375, shards=()))
    records = list(run_loop(tmp_path, stream, n=3))
    assert [record.planned_work for record in records] == [0.4375] * 3
    assert [line["planned_work"] for line in read_lines(tmp_path)] == [0.4375] * 3


def test_lines_before_an_error_are_on_disk(tmp_path):
    with pytest.raises(FluxShardError, match="stumbled"):
        list(run_loop(tmp_path, FakeSession(fail_at=3)))
    assert len(read_lines(tmp_path)) == 3


def test_a_line_is_on_disk_before_the_next_frame(tmp_path):
    for count, _ in enumerate(run_loop(tmp_path, FakeSession())):
        assert len(read_lines(tmp_path)) == count + 1
