"""The fake engine: what it computes, what it counts, and that it is an engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fluxshard.errors import FluxShardError, OptionError
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.engines.engine import Engine, Inspection
from fluxshard.testing import FakeEngine, frames
from fluxshard.testing.fake_engine import MEAN
from fluxshard.testing.moving_frames import KINDS

SIZE = (37, 45)
CELLS = 4 * 5


def image_of(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_it_is_an_engine() -> None:
    engine: Engine = FakeEngine(SIZE)
    inspection: Inspection = engine.inspect(engine.new_state())
    assert not inspection.input_mask().any()
    for protocol, made in ((Engine, engine), (Inspection, inspection)):
        assert not {name for name in vars(protocol) if not name.startswith("_") and not hasattr(made, name)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["propagated", "planned"])
def test_outputs_are_those_of_its_network(kind: str, policy: str) -> None:
    engine = FakeEngine(SIZE)
    with engine.session(ReuseOptions(policy=policy)) as session:
        for image, motion in frames(kind, SIZE, 4, seed=1):
            assert torch.equal(session.run(image, motion), F.avg_pool2d(image, 8))
            assert torch.equal(session.inspect().value(MEAN), F.avg_pool2d(image, 8))
            assert 0 <= session.stats.compute_ratio <= 1
    assert len(engine.calls) == 4


def test_calls_are_recorded() -> None:
    engine, motion = FakeEngine(SIZE), MotionField.uniform(*SIZE, 3, 5)
    with engine.session(ReuseOptions(tau_input=0.25)) as session:
        image = image_of()
        session.run(image, motion)
        image.zero_()
        session.run(image, motion)
    first, second = engine.calls
    assert torch.equal(first.image, image_of()) and not second.image.any()
    assert first.control.keyframe and first.motion is None
    assert not second.control.keyframe and second.motion is motion


def test_counts_are_the_cells_that_changed() -> None:
    engine = FakeEngine(SIZE)
    with engine.session(ReuseOptions(tau_input=0.1)) as session:
        image = image_of()
        session.run(image)
        assert session.stats.keyframe and session.stats.compute_ratio == session.stats.recompute_ratio == 1
        image[0, 1, 8:10, 17] += 0.2  # in cell (1, 2)
        image[0, 0, 3, 3] += 0.05  # below the threshold
        image[0, 0, 36, 2] += 0.2  # outside of all whole cells
        session.run(image)
        expected = np.zeros((4, 5), np.bool_)
        expected[1, 2] = True
        seen = session.inspect()
        assert (seen.candidates(MEAN) == expected).all() and (seen.mask(MEAN) == expected).all()
        assert seen.candidates("other") is None and seen.slots(MEAN).tolist() == np.arange(CELLS).reshape(4, 5).tolist()
        assert np.argwhere(session.recompute_mask()).tolist() == [[8, 17], [9, 17], [36, 2]]
        assert session.counted.candidates.tolist() == [1] and session.counted.input_cells == 3
        assert session.stats.compute_ratio == pytest.approx(1 / CELLS) and not session.stats.keyframe
        session.run(image)
        assert session.stats.layers_executed == 0 and session.stats.recompute_ratio == 0


def test_what_is_not_finite_has_changed() -> None:
    with FakeEngine(SIZE).session() as session:
        image = image_of()
        image[0, 0, 0, 0] = float("nan")
        session.run(image)
        session.run(image)
        assert np.argwhere(session.recompute_mask()).tolist() == [[0, 0]]


def test_a_scene_cut_is_a_keyframe() -> None:
    with FakeEngine(SIZE).session(ReuseOptions(scene_cut=0.5)) as session:
        session.run(image_of(0))
        session.run(image_of(1))
        assert session.stats.keyframe and session.recompute_mask().all()


def test_given_work_is_what_counts() -> None:
    work = {0: np.zeros(SIZE, np.bool_), 1: np.zeros((4, 5), np.bool_)}
    work[0][:8] = work[1][0] = True
    with FakeEngine(SIZE).session() as session:
        session.run(image_of())
        session.run_with_work(image_of(1), None, work)
        assert (session.recompute_mask() == work[0]).all() and (session.inspect().candidates(MEAN) == work[1]).all()


def test_planned_work_is_predicted() -> None:
    with FakeEngine(SIZE).session(ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.05))) as session:
        for image, motion in frames("blocks", SIZE, 5, seed=2):
            session.run(image, motion)
            assert session.planned is not None
            assert (session.counted.candidates == session.planned.counts.candidates).all()
            assert session.counted.input_cells == session.planned.counts.input_cells


def test_sessions_share_an_engine_and_nothing_else() -> None:
    engine = FakeEngine(SIZE)
    with engine.session() as one, engine.session() as two:
        one.run(image_of(0))
        two.run(image_of(1))
        one.run(image_of(0))
        assert one.stats.recompute_ratio == 0 and two.stats.keyframe
        assert torch.equal(two.inspect().value(MEAN), F.avg_pool2d(image_of(1), 8))


def test_an_answer_and_a_failure() -> None:
    engine = FakeEngine(SIZE, answer=lambda image: image.sum((2, 3)), fail_at=1)
    with engine.session() as session:
        assert torch.equal(session.run(image_of()), image_of().sum((2, 3)))
        with pytest.raises(FluxShardError, match="fail_at=1"):
            session.run(image_of())
        session.run(image_of())
        assert session.stats.keyframe  # what failed left nothing to reuse
    assert len(engine.calls) == 3


def test_images_hold_a_cell() -> None:
    with pytest.raises(OptionError, match="at least 8 px"):
        FakeEngine((7, 64))
