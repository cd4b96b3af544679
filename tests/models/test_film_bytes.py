"""A real film: what the loop makes of its bytes is, bit for bit, what it makes of float images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import fluxshard
from fluxshard import video
from fluxshard.models.loading.load import load
from fluxshard.options import CompileOptions, PlannedOptions, ReuseOptions
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.stream_loop import StreamLoop

pytestmark = pytest.mark.requires_compiler
SIZE = (192, 320)
N = 8


class Kept:
    """Keeps what the loop found, and counted."""

    shows_work = True

    def __init__(self):
        self.kept = []

    def write(self, record, view):
        self.kept.append((view.outputs, view.work_map(), record.detections, record.planned_work))


@pytest.mark.parametrize("policy", ["planned", "propagated"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_of_a_film_are_its_floats(dtype, policy, data_dir):
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    weights, source = data_dir / "weights" / "yolo11n-seg.pt", data_dir / "videos" / "carnd_solidWhiteRight_540p25.mp4"
    if not (weights.exists() and source.exists()):
        pytest.skip(f"no {weights.name} or {source.name} in {data_dir}")
    with pytest.warns(UserWarning, match="runs Python code"):
        loaded = load(weights)
    model = fluxshard.compile(loaded.net, options=CompileOptions(backend="cpp", dtype=dtype))
    head = DetectionHead(loaded.layout, SIZE, confidence=0.1)
    objects = PlannedOptions() if policy == "planned" else None
    bytes_, floats = Kept(), []
    with model.session(ReuseOptions(policy=policy)) as session, video.open(source, size=SIZE, max_frames=N) as frames:
        list(run_video(frames, StreamLoop(session=session, detect=head, objects=objects), [bytes_], confidence=0.25))
    with model.session(ReuseOptions(policy=policy)) as session, video.open(source, size=SIZE, max_frames=N) as frames:
        loop = StreamLoop(session=session, detect=head, objects=objects)
        for frame in frames:
            result = loop.step(frame.image, frame.motion, frame)
            found = int((result.found.scores > 0.25).sum())
            floats.append((result.outputs, session.work_map(), found, result.planned_work))
    assert len(floats) == len(bytes_.kept) == N
    for got, wanted in zip(bytes_.kept, floats, strict=True):
        for one, other in zip(pytree.tree_leaves(got[0]), pytree.tree_leaves(wanted[0]), strict=True):
            assert torch.equal(one, other)
        assert np.array_equal(got[1], wanted[1]) and got[2:] == wanted[2:]
    assert any(count for _, _, count, _ in floats)
