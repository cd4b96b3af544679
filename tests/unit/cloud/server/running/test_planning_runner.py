"""Frames that the server plans: what is run, what is focused on, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.server.running.frame_runner import RanFrame
from fluxshard.cloud.server.running.open_runner import open_runner
from fluxshard.cloud.server.running.ordered_runner import OrderedRunner
from fluxshard.cloud.server.running.planning_runner import PlanningRunner
from fluxshard.cloud.server.served_model import ServedModel
from fluxshard.cloud.wire.answer_codec import OutputsCodec
from fluxshard.cloud.wire.detections_codec import decode_detections
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.errors import RefusedError, WireError
from fluxshard.models.detections.regions import regions
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.testing.networks import bright_model, square
from fluxshard.testing.offload.watching import Watched, watched

SIZE = (32, 48)
REUSE = ReuseOptions(
    policy="planned", planned=PlannedOptions(tau=0.02, tau_background=0.3, tau_small=None, small_px=0), scene_cut=1.0
)
STILL = MotionField.zero(*SIZE)


@pytest.fixture(scope="module")
def model() -> Watched:
    return watched(bright_model(), SIZE)


def make(model: ServedModel, answer: str = "detections", reuse: ReuseOptions = REUSE) -> PlanningRunner:
    return PlanningRunner(model, reuse, answer=answer, confidence=0.5, iou=0.7)


def run(
    runner: PlanningRunner, image: Tensor, motion: MotionField | None = STILL, *, keyframe: bool = False,
    answer: bool = True,
) -> RanFrame:  # fmt: skip
    frame = pb.Frame(seq=1, keyframe=keyframe, wants_answer=answer)
    work = runner.read(frame)
    assert runner.needs_key(frame) == "" and runner.start() > 0
    ran = runner.task(frame, work, image, motion)()
    runner.ran(frame)
    return ran


def regions_of(outputs: Tensor, model: Watched) -> NDArray[np.uint8]:
    assert model.detect is not None
    return regions(model.detect(REUSE.planned.region_confidence, 0.7)(outputs), REUSE.planned.region_confidence, 0)


def test_a_session_runs_the_frames(model: Watched) -> None:
    runner = make(model.served, "outputs")
    codec = OutputsCodec(model.served.plan)
    with model.compiled.session(REUSE) as session:
        for x in (8, 8, 16):
            image = square(8, x, SIZE)
            ran, expected = run(runner, image), session.run(image, STILL)
            (found,) = codec.decode(ran.answer)
            assert isinstance(found, Tensor) and torch.equal(found, expected)
            assert ran.ran.compute_ratio == session.stats.compute_ratio
            assert ran.ran.counts.keyframe == session.stats.keyframe
            session.focus(regions_of(expected, model))
        assert runner.start() == session.state_bytes
    assert runner.mask(runner.read(pb.Frame())).all()


@pytest.mark.requires_compiler
def test_a_parked_stream_answers_as_if_it_had_not_been(model: Watched) -> None:
    built = watched(bright_model(), SIZE, backend="cpp")
    parks, stays = make(built.served, "outputs"), make(built.served, "outputs")
    assert parks.park() is None and make(model.served).park() is None
    for x in (8, 8, 16):
        image = square(8, x, SIZE)
        one, two = run(parks, image), run(stays, image)
        assert one.answer == two.answer and one.ran.compute_ratio == two.ran.compute_ratio
        whole, packed = parks.start(), parks.park()
        assert packed is not None and 0 < packed < whole == stays.start() == parks.start()
        assert parks.park() is None, "it is packed already"
    run(keeps := make(model.served), square(8, 8, SIZE))
    assert keeps.park() is None, "this backend cannot"


def test_detections_are_answered_above_the_confidence_and_fainter_ones_are_regions(model: Watched) -> None:
    image = torch.maximum(square(8, 8, SIZE), square(16, 32, SIZE, value=0.65))  # scores 1 and 0.3
    runner = make(model.served)
    found = decode_detections(run(runner, image).answer)
    assert found.boxes.tolist() == [[8, 8, 16, 16]]
    changed = image.clone()
    changed[..., 16:24, 32:40] += 0.1  # in the object that is too faint to be answered
    changed[..., 24:32, 0:8] += 0.1  # where no object is
    with model.compiled.session(REUSE) as session:
        session.focus(regions_of(session.run(image, STILL), model))
        session.run(changed, STILL)
        expected = session.stats.compute_ratio
    assert 0 < run(runner, changed).ran.compute_ratio == expected < 2 / 24 + 1e-3


@pytest.mark.parametrize("answer", ["outputs", "detections"])
def test_a_frame_without_an_answer_is_run_all_the_same(model: Watched, answer: str) -> None:
    runner = make(model.served, answer)
    assert run(runner, square(8, 8, SIZE), answer=False).answer == b""
    assert run(runner, square(8, 8, SIZE)).ran.compute_ratio < 1


def test_propagated_reuse_has_no_regions(model: Watched) -> None:
    runner = make(model.served, reuse=ReuseOptions(tau_input=0.1, tau=0.1))
    assert len(decode_detections(run(runner, square(8, 8, SIZE)).answer)) == 1
    assert run(runner, square(8, 8, SIZE)).ran.compute_ratio == 0
    headless = make(replace(model.served, detect=None), "outputs")
    assert run(headless, square(8, 8, SIZE)).answer


def test_what_makes_a_frame_whole(model: Watched) -> None:
    runner, image = make(model.served), square(8, 8, SIZE)
    assert run(runner, image).ran.counts.keyframe
    assert not run(runner, image).ran.counts.keyframe
    assert run(runner, image, keyframe=True).ran.counts.keyframe
    assert not run(runner, image).ran.counts.keyframe
    runner.interrupt()
    assert run(runner, image).ran.counts.keyframe
    assert not run(runner, image).ran.counts.keyframe
    runner.free()
    assert run(runner, image).ran.counts.keyframe
    assert not run(runner, image, None).ran.counts.keyframe  # unknown motion is compared at zero displacement


def test_a_task_keeps_the_memory_that_is_freed_meanwhile(model: Watched) -> None:
    runner, frame = make(model.served), pb.Frame(seq=1, wants_answer=True)
    runner.start()
    task = runner.task(frame, runner.read(frame), square(8, 8, SIZE), None)
    runner.free()
    assert task().answer


def test_a_head_with_orders_is_refused(model: Watched) -> None:
    runner = make(model.served)
    for frame in (pb.Frame(motion=b"x"), pb.Frame(masks=b"x")):
        with pytest.raises(WireError, match="the server plans"):
            runner.read(frame)


def hello(**given: object) -> pb.Hello:
    made = pb.Hello(
        reuse=encode_reuse(REUSE), payload="bitstream", answer="detections", server_plans=True, confidence=0.5, iou=0.7
    )
    for name, value in given.items():
        setattr(made, name, value)
    return made


def test_greetings_choose_the_runner(model: Watched) -> None:
    assert isinstance(open_runner(hello(), model.served, 1), PlanningRunner)
    assert isinstance(open_runner(hello(server_plans=False), model.served, 1), OrderedRunner)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"payload": "raw"}, "videos only"),
        ({"confidence": 1.5}, "between 0 and 1"),
        ({"answer": "outputs", "iou": float("nan")}, "between 0 and 1"),
        ({"reuse": "{}"}, "not allowed"),
        ({"reuse": encode_reuse(replace(REUSE, policy="propagated", tau={"nothing": 0.1}))}, "do not fit"),
    ],
)
def test_greetings_that_are_refused(model: Watched, given: dict[str, object], message: str) -> None:
    with pytest.raises(WireError, match=message):
        open_runner(hello(**given), model.served, 1)


def test_answers_that_a_model_does_not_have(model: Watched) -> None:
    with pytest.raises(RefusedError, match="does not give such answers"):
        open_runner(hello(), replace(model.served, detect=None), 1)
