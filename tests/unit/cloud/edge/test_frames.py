"""Images as frames, and statistics of what became of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fluxshard.cloud.edge.frames import frame_of, frame_stats
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.two_places import TwoPlacesAnswer
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs
from fluxshard.video.letterbox import to_image

SIZE = (16, 24)
PIXELS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def test_an_image_is_a_frame() -> None:
    motion = MotionField.zero(*SIZE)
    frame = frame_of(to_image(PIXELS), motion, 7)
    assert (frame.pixels == PIXELS).all() and torch.equal(frame.image, to_image(PIXELS))
    assert frame.motion is motion and frame.index == 7 and frame.packets == () and frame.packet_number is None


def test_bytes_are_a_frame() -> None:
    planes = torch.from_numpy(PIXELS).permute(2, 0, 1)[None]
    for image in (planes, planes.contiguous()):
        frame = frame_of(image, None, 0)
        assert (frame.pixels == PIXELS).all() and torch.equal(frame.image, to_image(PIXELS))
        assert frame.image is frame.image and torch.equal(frame.planes, planes)


@pytest.mark.parametrize(
    ("image", "motion", "message"),
    [
        (to_image(PIXELS) + 0.001, None, "whole steps of 1/255"),
        (to_image(PIXELS) * 2, None, "whole steps of 1/255"),
        (torch.full((1, 3, *SIZE), float("nan")), None, "whole steps of 1/255"),
        (torch.zeros(1, 1, *SIZE), None, "expected a frame of a video"),
        (torch.zeros(2, 3, *SIZE), None, "expected a frame of a video"),
        (torch.zeros(3, *SIZE), None, "expected a frame of a video"),
        (torch.zeros(1, 3, *SIZE, dtype=torch.float64), None, "torch.float64"),
        (PIXELS, None, "image is ndarray"),
        (to_image(PIXELS), MotionField.zero(32, 32), "motion"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_images_that_cannot_be_sent(image: Any, motion: MotionField | None, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        frame_of(image, motion, 0)


def answer(**given: Any) -> TwoPlacesAnswer:
    decision = Decision(endpoint="edge", edge_ms=None, cloud_ms=None, reason="")
    record = PlacementRecord(frame=4, inputs=DispatchInputs(edge_ms=None, cloud_ms=None), decision=decision)
    record.latency_ms, record.bytes_sent = 50.0, 576
    record.answered_by = "cloud" if "cloud" in given else "edge"
    values: dict[str, Any] = {"outputs": None, "proposal": None, "ran": None, "cloud": None, **given}
    return TwoPlacesAnswer(record=record, pre_ms=5.0, edge_wait_ms=2.0, **values)


def test_statistics_of_the_edge() -> None:
    counts = SimpleNamespace(keyframe=False, input_cells=96, executed=np.array([True, False, True]))
    ran = SimpleNamespace(counts=counts, compute_ratio=0.5, inference_ms=30.0, post_ms=3.0)
    stats = frame_stats(answer(ran=ran), SIZE)
    assert (stats.frame, stats.placement, stats.keyframe, stats.layers_executed) == (4, "edge", False, 2)
    assert (stats.recompute_ratio, stats.compute_ratio, stats.tx_ratio) == (0.25, 0.5, 0.5)
    parts = (stats.edge_pre_ms, stats.server_pre_ms, stats.transmission_ms, stats.inference_ms, stats.post_ms)
    assert parts == (7.0, 0.0, 0.0, 30.0, 13.0) and sum(parts) == stats.latency_ms == 50.0


def test_statistics_of_the_cloud() -> None:
    result = pb.Result(
        keyframe=True, work=2.0, compute_ratio=0.75, inference_ms=8.0, queue_ms=3.0, decode_ms=1.0, answer_ms=2.0
    )
    stats = frame_stats(answer(cloud=SimpleNamespace(result=result)), SIZE)
    assert (stats.placement, stats.keyframe, stats.layers_executed, stats.bytes_sent) == ("cloud", True, 0, 576)
    assert (stats.recompute_ratio, stats.compute_ratio) == (1.0, 0.75)
    parts = (stats.edge_pre_ms, stats.server_pre_ms, stats.transmission_ms, stats.inference_ms, stats.post_ms)
    assert parts == (7.0, 4.0, 29.0, 8.0, 2.0) and sum(parts) == stats.latency_ms


def test_figures_that_do_not_add_up_take_nothing_away() -> None:
    result = pb.Result(inference_ms=500.0)
    stats = frame_stats(answer(cloud=SimpleNamespace(result=result)), SIZE)
    assert stats.transmission_ms == 0.0 and stats.latency_ms == 50.0
