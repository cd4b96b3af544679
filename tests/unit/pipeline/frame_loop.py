"""Runs the loop of the pipeline over still pictures and a session, and keeps what it writes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from fluxshard.motion import MotionField
from fluxshard.pipeline.dense_baseline import DenseBaseline
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.sinks.annotated_film import annotate
from fluxshard.pipeline.sinks.json_lines import JsonLines
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.testing.fake_session import YOLO_LIKE
from fluxshard.video import Frame, Letterbox

IMAGE, PICTURE = (64, 96), (128, 192)


def frames(n):
    letterbox = Letterbox(PICTURE, IMAGE)
    for index in range(n):
        picture = np.full((*PICTURE, 3), 60, np.uint8)
        pixels = letterbox.place(picture)
        still = MotionField.zero(*IMAGE)
        yield Frame(still, index, index / 25, "codec", letterbox, picture, pixels)


@dataclass
class Pictures:
    """A sink that keeps annotated pictures."""

    kept: list
    show_work: bool = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, record, view):
        self.kept.append(annotate(record, view, names=YOLO_LIKE.names, show_work=self.show_work))


def head_of(loaded, confidence, canvas_px=0):
    if loaded.layout is None:
        return None
    return DetectionHead(loaded.layout, (IMAGE[0] + canvas_px, IMAGE[1] + canvas_px), confidence=confidence)


def run_loop(
    tmp_path,
    stream,
    n=5,
    loaded=YOLO_LIKE,
    dense=None,
    pictures=None,
    *,
    confidence=0.25,
    planned=None,
    canvas_px=0,
    show_work=False,
):
    lowest = confidence if planned is None else min(confidence, planned.region_confidence)
    loop = StreamLoop(session=stream, detect=head_of(loaded, lowest, canvas_px), objects=planned)
    baseline = None
    if dense is not None:
        baseline = DenseBaseline(run=dense, detect=head_of(loaded, confidence), pairs=not canvas_px)
    kept = Pictures([] if pictures is None else pictures, show_work)
    with JsonLines(tmp_path / "frames.jsonl", loaded.names) as lines:
        yield from run_video(frames(n), loop, (lines, kept), confidence=confidence, dense=baseline)


def read_lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
