"""What takes the place of a model, a session and a film in tests of the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import torch

from fluxshard.cli.records import RecordFile
from fluxshard.cli.run import run_frames
from fluxshard.cli.settings import RunSettings
from fluxshard.errors import FluxShardError
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.motion import MotionField
from fluxshard.video import Frame, Letterbox

YOLO_LIKE = LoadedModel(torch.nn.Identity(), "detect", HeadLayout("detect", 2), ("cat", "dog"), stride_px=32)


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
    letterbox = Letterbox((128, 192), (64, 96))
    for index in range(n):
        picture = np.full((128, 192, 3), 60, np.uint8)
        yield Frame(letterbox.apply(picture), MotionField.zero(64, 96), index, index / 25, "codec", letterbox, picture)


def settings(tmp_path, **more):
    return RunSettings(video="v.mp4", model=tmp_path / "m.pt", out=tmp_path, shape=(64, 96), **more)


def run_loop(tmp_path, stream, n=5, loaded=YOLO_LIKE, dense=None, pictures=None, **more):
    pictures = [] if pictures is None else pictures
    with RecordFile(tmp_path / "frames.jsonl") as lines:
        options = settings(tmp_path, **more)
        yield from run_frames(
            frames(n), stream, loaded, options, records=lines, write_picture=pictures.append, dense=dense
        )


def read_lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
