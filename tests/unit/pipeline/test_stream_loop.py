"""One frame through the loop: what is called, in which order, how often, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.errors import FluxShardError, ModelError
from fluxshard.models.detections.regions import regions
from fluxshard.motion import MotionField
from fluxshard.options import SMALL_OBJECT, PlannedOptions, ReuseOptions
from fluxshard.pipeline.calibrating.online_calibration import OnlineCalibration
from fluxshard.pipeline.calibrating.options import CalibrationOptions
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.device import RunDevice
from fluxshard.pipeline.saliency.output_saliency import OutputSaliency
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.testing.fake_session import YOLO_LIKE, FakeSession, detection
from tests.unit.pipeline.calibrating.test_online_calibration import PLANNED
from tests.unit.pipeline.frame_loop import IMAGE, frames

IMAGES = torch.zeros(1, 3, *IMAGE)
HEAD = DetectionHead(YOLO_LIKE.layout, IMAGE, confidence=0.1)


@dataclass
class Diary(FakeSession):
    """A stream that writes down its calls."""

    calls: list = field(default_factory=list)

    def run(self, image, motion=None):
        self.calls.append("run")
        return super().run(image, motion)

    def focus(self, regions):
        self.calls.append("focus")
        super().focus(regions)

    def detect(self, found):
        self.calls.append("detect")
        return HEAD(found)


def test_a_frame_is_run_then_decoded_then_focused_on_once():
    stream = Diary()
    loop = StreamLoop(session=stream, detect=stream.detect, objects=PlannedOptions())
    for _ in range(4):
        loop.step(IMAGES)
    assert stream.calls == ["run", "detect", "focus"] * 4


def test_the_session_is_focused_on_what_was_found_in_this_frame():
    stream, objects = FakeSession(drift=8.0), PlannedOptions(small_px=30)
    loop = StreamLoop(session=stream, detect=HEAD, objects=objects)
    for index in range(3):
        frame = loop.step(IMAGES)
        assert frame.regions is stream.regions[-1] and len(stream.regions) == index + 1
        assert np.array_equal(frame.regions, regions(HEAD(detection(32 + 8.0 * index)), 0.1, 30))
        assert frame.regions.max() == SMALL_OBJECT
        assert frame.found.boxes.tolist() == [[22 + 8 * index, 20, 42 + 8 * index, 40]]


def test_nothing_found_is_focused_on_as_well():
    """Otherwise the session would go on where the last object was."""
    stream = FakeSession(score=0.05)
    frame = StreamLoop(session=stream, detect=HEAD, objects=PlannedOptions()).step(IMAGES)
    assert len(frame.found) == 0 and len(stream.regions) == 1 and not stream.regions[0].any()


@pytest.mark.parametrize(("has_head", "objects"), [(False, PlannedOptions()), (True, None), (False, None)])
def test_without_a_head_or_a_wish_nothing_is_focused_on(has_head, objects):
    stream = FakeSession()
    frame = StreamLoop(session=stream, detect=HEAD if has_head else None, objects=objects).step(IMAGES)
    assert stream.regions == [] and frame.regions is None and frame.focus_ms == 0
    assert (frame.found is not None) == has_head == (frame.decode_ms > 0)


@dataclass
class Mapped(FakeSession):
    """A stream whose outputs are maps, on a canvas of 8 px more per axis; one corner changes from frame to frame."""

    def run(self, image, motion=None):
        super().run(image, motion)
        found = torch.zeros(1, 2, (IMAGE[0] + 8) // 8, (IMAGE[1] + 8) // 8)
        found[0, 0, 3:6, 3:6] = 1.0
        found[0, 1, :2, :2] = float(len(self.seen))
        return found


def test_without_a_head_the_session_is_focused_where_its_outputs_change():
    stream, canvas = Mapped(), (IMAGE[0] + 8, IMAGE[1] + 8)
    loop = StreamLoop(session=stream, objects=PlannedOptions(), saliency=OutputSaliency(canvas))
    first, second = loop.step(IMAGES), loop.step(IMAGES, MotionField.zero(*IMAGE))
    assert first.regions is None and first.found is None  # there is nothing to compare it with
    assert len(stream.regions) == 1 and second.regions is stream.regions[0] and second.focus_ms > 0
    assert second.regions.shape == (9, 13) and second.regions[0, 0] and not second.regions[4:].any()


def test_saliency_is_told_where_the_image_lies_on_the_canvas():
    seen = []

    class Spy(OutputSaliency):
        def update(self, outputs, motion=None, origin=(0, 0)):
            seen.append((motion, origin))
            return super().update(outputs, motion, origin)

    motion = MotionField.zero(*IMAGE)
    loop = StreamLoop(session=Mapped(step=(0, 3)), saliency=Spy((IMAGE[0] + 8, IMAGE[1] + 8)))
    for given in (None, motion):
        loop.step(IMAGES, given)
    assert seen == [(None, (0, 0)), (motion, (0, 3))]


def test_where_the_head_is_known_its_objects_are_the_regions():
    stream = FakeSession()
    loop = StreamLoop(session=stream, detect=HEAD, objects=PlannedOptions(), saliency=OutputSaliency(IMAGE))
    loop.step(IMAGES)
    assert stream.regions[0].max() == SMALL_OBJECT


def test_motion_goes_in_and_measurements_come_out():
    stream, motion = FakeSession(step=(3, 5)), MotionField.zero(*IMAGE)
    loop = StreamLoop(session=stream, detect=HEAD)
    first, second = loop.step(IMAGES), loop.step(IMAGES, motion)
    assert stream.seen == [None, motion]
    assert (first.origin, second.origin) == ((0, 0), (3, 5))
    assert (first.stats.keyframe, second.stats.keyframe) == (True, False)  # each frame keeps its own
    assert torch.equal(second.outputs, detection(37.0, 33.0)) and second.run_ms > 0


def test_detections_are_read_from_fetched_outputs():
    """On a GPU, and in half precision, detection are elsewhere and otherwise."""

    class Half(RunDevice):
        def fetch(self, found):
            return found.float()

    stream = FakeSession()
    run = stream.run
    stream.run = lambda *arguments: run(*arguments).half()
    seen = []
    StreamLoop(session=stream, detect=lambda found: seen.append(found) or HEAD(found), device=Half()).step(IMAGES)
    assert [found.dtype for found in seen] == [torch.float32]


def test_a_frame_that_fails_is_not_focused_on():
    stream = FakeSession(fail_at=1)
    loop = StreamLoop(session=stream, detect=HEAD, objects=PlannedOptions())
    loop.step(IMAGES)
    with pytest.raises(FluxShardError, match="stumbled"):
        loop.step(IMAGES)
    assert len(stream.regions) == 1
    ran = FakeSession()
    ran.run(IMAGES)
    wrong = StreamLoop(session=ran, detect=DetectionHead(YOLO_LIKE.layout, IMAGE), objects=PlannedOptions())
    wrong.session.run = lambda *arguments: torch.zeros(1, 3, 8, 8)
    with pytest.raises(ModelError, match="the model returned"):
        wrong.step(IMAGES)
    assert wrong.session.regions == []


def test_a_session_is_focused_where_the_loop_says():
    """The same frames by hand and by the loop leave a real session of planned reuse in the same state."""
    net = torch.nn.Conv2d(3, 6, 3, stride=8, padding=1).eval()
    model = fluxshard.compile(net, torch.zeros(1, 3, *IMAGE), options=fluxshard.CompileOptions(backend="reference"))
    options = ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.0, tau_background=0.5, tau_small=0.0))
    rng = torch.Generator().manual_seed(0)
    base = torch.rand(1, 3, *IMAGE, generator=rng)
    images = [(base + 0.05 * torch.rand(1, 3, *IMAGE, generator=rng)).clamp(0, 1) for _ in range(4)]
    found = HEAD(detection(32.0))
    with model.session(options) as by_hand, model.session(options) as looped, model.session(options) as never:
        loop = StreamLoop(session=looped, detect=lambda _: found, objects=options.planned)
        for image in images:
            expected = by_hand.run(image)
            by_hand.focus(regions(found, options.planned.region_confidence, options.planned.small_px))
            never.run(image)
            frame = loop.step(image)
            assert torch.equal(frame.outputs, expected)
            assert frame.stats.compute_ratio == by_hand.stats.compute_ratio
        assert 0 < frame.stats.compute_ratio < never.stats.compute_ratio  # the background is left alone


def test_a_calibrated_frame_is_computed_twice_and_answered_by_the_whole_network():
    stream = FakeSession(blind=10.0, planned=PLANNED)
    calibration = OnlineCalibration(CalibrationOptions(alpha=0.95, first=2), stream, 0.25)
    loop = StreamLoop(session=stream, detect=HEAD, objects=PlannedOptions(), calibration=calibration)
    first, second, third = (loop.step(IMAGES) for _ in range(3))
    assert stream.wholes == 1
    assert [frame.found.boxes[0, 0] for frame in (first, second, third)] == [32, 22, 32]
    assert [frame.stats.compute_ratio for frame in (first, second, third)] == [1.0, 1.2, 0.2]
    assert [frame.planned_work for frame in (first, second, third)] == [0.2, 1.2, 0.2]
    assert second.stats.latency_ms == 2 * third.stats.latency_ms and second.stats.frame == 1
    assert second.regions is stream.regions[1] and second.regions[2, 2] and not second.regions[2, 6]
    errors = [frame.calibrated.error for frame in (first, second, third)]
    assert errors == [None, pytest.approx(1 - 10 / 30), None]
    assert first.calibrated.scale == second.calibrated.scale == 0.5 > third.calibrated.scale == stream.scales[-1]


def test_a_frame_that_starts_anew_is_run_whole():
    """After a gap nothing is reused, and regions of outputs begin again."""
    stream = Diary()
    wholes = []

    def whole(image):
        wholes.append(len(stream.calls))
        return stream.run(image)

    loop = StreamLoop(session=stream, detect=stream.detect, objects=PlannedOptions(), whole=whole)
    for frame in [replace(frame, starts_anew=frame.index in (2, 4)) for frame in frames(6)]:
        loop.step(frame.planes, frame.motion, frame)
    assert wholes == [6, 12] and stream.calls == ["run", "detect", "focus"] * 6
