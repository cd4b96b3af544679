"""Checks of sessions notice what they are for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.testing import EXACT, FakeEngine, assert_same_decisions, check_against_dense, frames

SIZE = (32, 48)


def test_a_network_that_is_and_one_that_is_not_the_sessions() -> None:
    with FakeEngine(SIZE).session(EXACT) as session:
        stats = list(check_against_dense(nn.AvgPool2d(8), session, frames("pan", SIZE, 3, 0)))
    assert [one.frame for one in stats] == [0, 1, 2]
    with FakeEngine(SIZE).session(EXACT) as session, pytest.raises(AssertionError):
        list(check_against_dense(nn.MaxPool2d(8), session, frames("pan", SIZE, 3, 0)))


@pytest.mark.parametrize("values", [False, True])
def test_sessions_that_decide_differently(values: bool) -> None:
    engine = FakeEngine(SIZE)
    with engine.session() as one, engine.session() as two, engine.session() as three:
        for index, (image, motion) in enumerate(frames("static", SIZE, 4, 0)):
            for session in (one, two, three):
                changed = image.clone()
                changed[..., 0, 0] += float(session is three and index == 3)
                session.run(changed, motion)
        assert_same_decisions(one, two, engine.plan, values)
        with pytest.raises(AssertionError):
            assert_same_decisions(one, three, engine.plan, values)


def test_features_that_differ_by_a_bit() -> None:
    """The masks are equal, and one value is not."""
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    engine = FakeEngine(SIZE)
    with engine.session() as one, engine.session() as two:
        one.run(image)
        two.run(image * (1 + 2**-20))
        assert_same_decisions(one, two, engine.plan, values=False)
        with pytest.raises(AssertionError, match="mean"):
            assert_same_decisions(one, two, engine.plan, values=True)


def test_exact_is_what_it_says() -> None:
    assert fluxshard.ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0) == EXACT
    assert EXACT.tau == EXACT.tau_input == 0
