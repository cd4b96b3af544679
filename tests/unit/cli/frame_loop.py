"""Runs the loop of `fluxshard run` over still pictures and a fake session."""

from __future__ import annotations

import json

import numpy as np

from fluxshard.cli.records import RecordFile
from fluxshard.cli.run import run_frames
from fluxshard.cli.settings import RunSettings
from fluxshard.motion import MotionField
from fluxshard.testing.fake_session import YOLO_LIKE
from fluxshard.video import Frame, Letterbox


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
