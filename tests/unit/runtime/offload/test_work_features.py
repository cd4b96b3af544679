"""Kinds of work: as many for every frame, known before it runs, and the same afterwards."""

from __future__ import annotations

import pytest

import fluxshard
from fluxshard.options import Policy
from fluxshard.runtime.offload.work_features import features_of_run, work_features
from fluxshard.testing import FakeEngine
from fluxshard.testing.moving_frames import frames

SIZE = (48, 64)


@pytest.mark.parametrize("kind", ["pan", "static", "cut", "unknown"])
@pytest.mark.parametrize("policy", ["propagated", "planned"])
def test_what_is_predicted_is_what_is_counted(policy: Policy, kind: str) -> None:
    engine = FakeEngine(SIZE)
    cells = engine.plan.grids[0].cells
    lengths = set()
    with engine.session(fluxshard.ReuseOptions(policy=policy)) as session:
        for index, (image, motion) in enumerate(frames(kind, SIZE, 6, seed=1)):
            predicted = work_features(session.propose(image, motion))
            session.run(image, motion)
            assert predicted == features_of_run(session.planned, session.counted, cells)
            assert all(0 <= share <= 1 for share in predicted)
            if index == 0 or session.stats.keyframe:
                assert predicted == (1.0,) * len(predicted)
            lengths.add(len(predicted))
    assert lengths == {1 if policy == "propagated" else 2}  # the network has one level


def test_planned_work_is_that_of_the_network_and_of_each_level() -> None:
    engine = FakeEngine(SIZE)
    reuse = fluxshard.ReuseOptions(policy="planned", scene_cut=1.0)
    image = next(iter(frames("static", SIZE, 1, seed=2)))[0]
    with engine.session(reuse) as session:
        session.run(image)
        other = image.clone()
        other[..., :16] = 1 - other[..., :16]  # a quarter of the columns
        assert work_features(session.propose(other)) == (0.25, 0.25)
        assert work_features(session.propose(image)) == (0.0, 0.0)
