"""Frame records as JSON lines: what a line holds, what is left after failures, and reading them back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fluxshard.errors import FluxShardError
from fluxshard.models.detections.agreement import Agreement
from fluxshard.models.detections.detections import Detections
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.sinks.json_lines import JsonLines, read_records
from fluxshard.pipeline.sinks.sink import FrameView
from fluxshard.testing.fake_session import FakeSession, detection
from tests.unit.pipeline.frame_loop import frames, read_lines, run_loop

RECORD = FrameRecord(
    frame=3,
    time_s=0.12,
    stats={"frame": 7, "keyframe": False, "compute_ratio": 0.25, "motion_source": "encoder", "placement": "edge"},
    incremental_ms=12.5,
    dense_ms=30.25,
    decode_ms=1.5,
    focus_ms=0.5,
    source_ms=4.0,
    agreement=Agreement(2, 1, 0, box_iou=0.75),
    max_difference=0.125,
    detections=1,
    origin=(3, 5),
    planned_work=0.5,
)
FOUND = Detections(
    np.array([[1, 2, 3.25, 4]], np.float32), np.array([0.5], np.float32), np.array([1]), (128, 192)
)  # fmt: skip


def view(found=FOUND):
    (frame,) = frames(1)
    return FrameView(frame=frame, found=found, outputs=torch.ones(1, 2), work_map=lambda: np.zeros((8, 12), np.float32))


def test_a_line_holds_the_record_and_the_detections(tmp_path):
    with JsonLines(tmp_path / "frames.jsonl", ("cat", "dog")) as lines:
        lines.write(RECORD, view())
    (line,) = read_lines(tmp_path)
    assert line == {
        "frame": 3,
        "time_s": 0.12,
        "keyframe": False,
        "compute_ratio": 0.25,
        "motion_source": "encoder",
        "placement": "edge",
        "incremental_ms": 12.5,
        "dense_ms": 30.25,
        "decode_ms": 1.5,
        "focus_ms": 0.5,
        "source_ms": 4.0,
        "age_ms": 0.0,
        "origin": [3, 5],
        "planned_work": 0.5,
        "carried": 0,
        "calibrated": None,
        "max_difference": 0.125,
        "agreement": {
            "matched": 2, "extra": 1, "missed": 0, "box_iou": 0.75, "mask_iou": None, "keypoint_px": None, "oks": None,
            "f1": 0.8,
        },
        "detections": [{"class": 1, "name": "dog", "score": 0.5, "box": [1.0, 2.0, 3.25, 4.0]}],
    }  # fmt: skip


def test_without_a_head_a_line_describes_the_outputs(tmp_path):
    with JsonLines(tmp_path / "frames.jsonl") as lines:
        lines.write(RECORD, view(None))
    (line,) = read_lines(tmp_path)
    assert line["outputs"] == [{"shape": [1, 2], "min": 1.0, "mean": 1.0, "max": 1.0}] and "detections" not in line


def test_records_come_back_as_they_were(tmp_path):
    bare = FrameRecord(frame=0, time_s=None, stats={"keyframe": True}, incremental_ms=1.0)
    with JsonLines(tmp_path / "frames.jsonl") as lines:
        lines.write(RECORD, view())
        lines.write(bare, view(None))
    stats = {name: value for name, value in RECORD.stats.items() if name != "frame"}  # its number within the stream
    assert read_records(tmp_path / "frames.jsonl") == [replace(RECORD, stats=stats), bare]


def test_records_of_a_run_come_back(tmp_path):
    records = list(run_loop(tmp_path, FakeSession(drift=1.0), dense=lambda image: detection(32.0)))
    found = read_records(tmp_path / "frames.jsonl")
    assert [record.agreement for record in found] == [record.agreement for record in records]
    assert [record.stats["motion_source"] for record in found] == ["codec"] * 5
    assert [record.detections for record in found] == [1] * 5


def test_old_names_of_motion_sources_are_read_as_the_new_ones(tmp_path):
    path = tmp_path / "frames.jsonl"
    with JsonLines(path) as lines:
        for source in ("encoded", "encoder", "codec", "none"):
            lines.write(replace(RECORD, stats={"motion_source": source}), view())
    assert '"encoded"' in path.read_text()
    assert [record.stats["motion_source"] for record in read_records(path)] == ["encoder", "encoder", "codec", "none"]


def test_a_half_written_line_is_left_out_and_a_damaged_one_is_an_error(tmp_path):
    path = tmp_path / "frames.jsonl"
    with JsonLines(path) as lines:
        lines.write(RECORD, view())
        lines.write(RECORD, view())
    text = path.read_text()
    path.write_text(text[:-20])
    assert len(read_records(path)) == 1
    for damaged in (text[20:], "{}\n", "[1]\n", "null\n"):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="not a line of a run"):
            read_records(path)


def test_what_was_written_before_a_failure_stays(tmp_path):
    path = tmp_path / "frames.jsonl"
    with pytest.raises(FluxShardError, match="stumbled"), JsonLines(path) as lines:
        lines.write(RECORD, view())
        assert json.loads(path.read_text())["frame"] == 3  # before the context ends
        raise FluxShardError("the engine stumbled")
    assert len(read_records(path)) == 1


def test_the_first_error_is_the_one_that_is_told(tmp_path):
    """A disk that is full refuses the rest of the buffer once more when the file is closed."""
    lines = JsonLines(tmp_path / "frames.jsonl")

    class Full:
        def write(self, text):
            raise OSError("no space left")

        def close(self):
            raise OSError("still no space left")

    lines._file.close()
    lines._file = Full()
    with pytest.raises(OSError, match=r"^no space left"), lines:
        lines.write(RECORD, view())
    with pytest.raises(OSError, match="still no space"), lines:  # but an error of closing alone is told
        pass
