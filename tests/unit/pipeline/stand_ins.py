"""What takes the place of a model, a session and a film in tests of the pipeline and of the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import torch

from fluxshard.errors import FluxShardError
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.motion import MotionField
from fluxshard.pipeline.dense_baseline import DenseBaseline
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.sinks.annotated_film import annotate
from fluxshard.pipeline.sinks.json_lines import JsonLines
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.video import Frame, Letterbox

YOLO_LIKE = LoadedModel(torch.nn.Identity(), "detect", HeadLayout("detect", 2), ("cat", "dog"), stride_px=32)
IMAGE, PICTURE = (64, 96), (128, 192)


@dataclass
class Stats:
    frame: int
    keyframe: bool
    compute_ratio: float
    recompute_ratio: float
    overhead_ms: float = 0.5
    latency_ms: float = 9.0
    motion_source: str = "given"


@dataclass
class Stream:
    """Stands in for a session: finds a box that wanders off by a pixel a frame.

    Frame n lies at `n * step` (y, x) of the canvas, and the box with it.
    """

    drift: float = 0.0
    fail_at: int | None = None
    step: tuple[int, int] = (0, 0)
    score: float = 0.9
    seen: list = field(default_factory=list)
    regions: list = field(default_factory=list)
    planned: object = None
    origin: tuple[int, int] = (0, 0)

    def run(self, image, motion=None):
        n = len(self.seen)
        if n == self.fail_at:
            raise FluxShardError("the engine stumbled")
        self.seen.append(motion)
        self.stats = Stats(n, n == 0, 1.0 if n == 0 else 0.2, 1.0 if n == 0 else 0.1)
        self.origin = n * self.step[0], n * self.step[1]
        return outputs(32 + self.drift * n + self.origin[1], 30 + self.origin[0], self.score)

    def focus(self, regions):
        self.regions.append(regions)

    def work_map(self):
        return np.eye(8, 12, dtype=np.float32)


def outputs(x, y=30.0, score=0.9):
    """A dog of 20x20 px around (y, x)."""
    tensor = torch.zeros(1, 6, 20)
    tensor[0, :, 0] = torch.tensor([x, y, 20.0, 20.0, 0.0, score])
    return tensor


def frames(n):
    letterbox = Letterbox(PICTURE, IMAGE)
    for index in range(n):
        picture = np.full((*PICTURE, 3), 60, np.uint8)
        yield Frame(letterbox.apply(picture), MotionField.zero(*IMAGE), index, index / 25, "codec", letterbox, picture)


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
