"""Which frames are answered by the last result, in a world whose detections are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.pipeline.carrying.carrier import ResultCarrier
from fluxshard.pipeline.carrying.options import SkipOptions
from fluxshard.runtime.session import Session
from fluxshard.testing.networks import TwoStrides

SIZE = (64, 96)
MOTION = MotionField.uniform(*SIZE, 0, 4)  # a feature of the coarsest level


def picture(n: int) -> torch.Tensor:
    """A picture that moves right by 4 px a frame."""
    wide = np.random.default_rng(0).random((3, SIZE[0], SIZE[1] + 200), np.float32)
    left = 200 - 4 * n
    return torch.from_numpy(np.ascontiguousarray(wide[None, :, :, left : left + SIZE[1]]))


def found(x: float, score: float = 0.9) -> Detections:
    return Detections(
        np.array([[x, 20.0, x + 24, 44.0]], np.float32), np.array([score], np.float32), np.zeros(1, np.int64), SIZE
    )


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    torch.manual_seed(0)
    return fluxshard.compile(TwoStrides().eval(), options=CompileOptions(backend="reference"))


class Stream:
    """A session, a carrier, and a network that finds one object where it is said to be."""

    def __init__(self, model: fluxshard.CompiledModel, options: SkipOptions) -> None:
        self.session: Session = model.session(ReuseOptions(policy="planned"))
        self.carrier = ResultCarrier(options, self.session.glance, 0.25)

    def frame(self, image: torch.Tensor, motion: MotionField | None, truth: Detections) -> Detections | None:
        """The moved result, or None where the frame was computed."""
        moved = self.carrier.carry(image, motion)
        if moved is None:
            self.session.run(image, self.carrier.since)
            self.carrier.take(truth, self.session.planned)
        return moved


def play(stream: Stream, n: int, x_of: float = 4.0) -> list[bool]:
    """Frames of the moving picture; which were carried."""
    return [
        stream.frame(picture(index), MOTION if index else None, found(10 + x_of * index)) is not None
        for index in range(n)
    ]


def test_what_moves_as_the_video_says_is_carried_and_exact(model: fluxshard.CompiledModel) -> None:
    stream = Stream(model, SkipOptions(budget=0.05, most=2))
    carried = []
    for index in range(12):
        moved = stream.frame(picture(index), MOTION if index else None, found(10 + 4 * index))
        carried.append(moved is not None)
        if moved is not None:
            assert moved.boxes.tolist() == found(10 + 4 * index).boxes.tolist()
    assert carried == [False, False, False, *[True, True, False] * 3]  # two errors are measured first


def test_changes_may_be_said_by_a_session_that_has_no_plan(model: fluxshard.CompiledModel) -> None:
    """Where a server plans, the edge knows what has changed in another way; None: everything."""

    def carried(knows: bool) -> list[bool]:
        stream = Stream(model, SkipOptions(budget=0.05, most=2))

        def changed() -> np.ndarray | None:
            planned = stream.session.planned
            return planned.coarsest if knows and planned is not None else None

        stream.carrier = ResultCarrier(SkipOptions(budget=0.05, most=2), stream.session.glance, 0.25, changed)
        take = stream.carrier.take
        stream.carrier.take = lambda found, _: take(found, None)  # type: ignore[method-assign]
        return play(stream, 12)

    assert carried(True) == [False, False, False, *[True, True, False] * 3]
    assert not any(carried(False))


def test_what_leaves_its_vectors_is_computed(model: fluxshard.CompiledModel) -> None:
    assert not any(play(Stream(model, SkipOptions(budget=0.05, most=2)), 12, x_of=8.0))


def test_no_budget_and_no_frames_carry_nothing(model: fluxshard.CompiledModel) -> None:
    assert not any(play(Stream(model, SkipOptions(budget=0.05, most=0)), 8))


def test_motion_that_is_not_known_is_not_taken_for_none(model: fluxshard.CompiledModel) -> None:
    stream = Stream(model, SkipOptions(budget=0.05, most=3))
    play(stream, 3)
    assert stream.carrier.carry(picture(3), None) is None
    assert stream.carrier.since is None


def test_a_cut_is_computed_and_trust_begins_anew(model: fluxshard.CompiledModel) -> None:
    stream = Stream(model, SkipOptions(budget=0.05, most=3))
    play(stream, 3)
    cut = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(5))
    assert stream.frame(cut, MotionField.zero(*SIZE), found(10)) is None
    assert stream.session.planned is not None and stream.session.planned.work is None
    assert stream.frame(cut, MotionField.zero(*SIZE), found(10)) is None


def test_something_new_away_from_objects_is_computed(model: fluxshard.CompiledModel) -> None:
    stream = Stream(model, SkipOptions(budget=0.05, most=3))
    still, zero = picture(0), MotionField.zero(*SIZE)
    for index in range(3):
        assert stream.frame(still, zero if index else None, found(10)) is None
    assert stream.frame(still, zero, found(10)) is not None
    changed = still.clone()
    changed[..., :40, 56:] = 1 - changed[..., :40, 56:]
    assert stream.frame(changed, zero, found(10)) is None


def test_the_session_is_told_the_motion_of_all_frames_between(model: fluxshard.CompiledModel) -> None:
    stream = Stream(model, SkipOptions(budget=0.05, most=3))
    play(stream, 5)
    assert stream.carrier.age == 2
    since = stream.carrier.since
    assert since is not None and set(since.displacement[since.valid].reshape(-1, 2)[:, 1].tolist()) == {8}


def test_faint_detections_are_not_carried(model: fluxshard.CompiledModel) -> None:
    stream = Stream(model, SkipOptions(budget=0.05, most=3))
    still, zero = picture(0), MotionField.zero(*SIZE)
    both = found(10)
    both = replace(
        both,
        boxes=np.concatenate([both.boxes, both.boxes + 30]),
        scores=np.array([0.9, 0.2], np.float32),
        classes=np.zeros(2, np.int64),
    )
    for index in range(3):
        stream.frame(still, zero if index else None, both)
    moved = stream.frame(still, zero, both)
    assert moved is not None and moved.scores.tolist() == pytest.approx([0.9])


def test_a_frame_is_not_carried_by_a_policy_without_shards(model: fluxshard.CompiledModel) -> None:
    other = model.session(ReuseOptions(policy="propagated"))
    stream = Stream(model, SkipOptions(budget=0.05, most=3))
    play(stream, 3)
    carrier = ResultCarrier(SkipOptions(budget=0.05, most=3), other.glance, 0.25)
    carrier._moved, carrier._errors, carrier._changes = found(18), stream.carrier._errors, stream.carrier._changes
    assert carrier.carry(picture(3), MOTION) is None
