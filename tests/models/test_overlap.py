"""A real film: stages that overlap give the records, lines and pictures of stages in turns, bit for bit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

import fluxshard
from fluxshard import video
from fluxshard.models.loading.load import load
from fluxshard.options import CompileOptions, PlannedOptions, ReuseOptions
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.overlap.run_overlapped import run_overlapped
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.sinks.annotated_film import annotate
from fluxshard.pipeline.sinks.json_lines import JsonLines
from fluxshard.pipeline.stream_loop import StreamLoop

SIZE = (192, 320)
N = 6


@dataclass
class Pictures:
    """Keeps what is drawn above the caption, which tells times."""

    shows_work = True
    kept: list = field(default_factory=list)

    def prepare(self, record, view):
        picture = annotate(record, view, show_work=True)
        return partial(self.kept.append, picture[: -picture.shape[0] // 10])

    def write(self, record, view):
        self.prepare(record, view)()


def untimed(line):
    return {name: value for name, value in json.loads(line).items() if not name.endswith("_ms")}


@pytest.mark.parametrize("film", ["openpose_street_720p50.avi", "carnd_solidWhiteRight_540p25.mp4"])
def test_overlapping_stages_change_no_bit(film, data_dir, tmp_path):
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    weights, source = data_dir / "weights" / "yolo11n-seg.pt", data_dir / "videos" / film
    if not (weights.exists() and source.exists()):
        pytest.skip(f"no {weights.name} or {film} in {data_dir}")
    with pytest.warns(UserWarning, match="runs Python code"):
        loaded = load(weights)
    compiled = fluxshard.compile(loaded.net, options=CompileOptions(backend="reference"))
    lines, pictures = {}, {}
    for name, run in (("turns", run_video), ("overlapped", run_overlapped)):
        drawn = Pictures()
        with (
            compiled.session(ReuseOptions(policy="planned")) as session,
            video.open(source, size=SIZE, max_frames=N) as frames,
            JsonLines(tmp_path / f"{name}.jsonl", loaded.names) as written,
        ):
            head = DetectionHead(loaded.layout, SIZE, confidence=0.1)
            loop = StreamLoop(session=session, detect=head, objects=PlannedOptions())
            records = list(run(frames, loop, (drawn, written)))
        assert len(records) == N
        lines[name] = [untimed(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        pictures[name] = drawn.kept
    assert lines["turns"] == lines["overlapped"] and any(line["detections"] for line in lines["turns"])
    assert len(pictures["turns"]) == N
    for first, second in zip(pictures["turns"], pictures["overlapped"], strict=True):
        assert np.array_equal(first, second)
