"""An engine with a hook computes what the one inside does."""

from __future__ import annotations

import pytest
import torch

from fluxshard.errors import KernelError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.session import Session
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.two_places import moving_frames, small_model


@pytest.mark.parametrize("reuse", [ReuseOptions(policy="planned"), ReuseOptions(tau=0.1)])
def test_outputs_and_masks_are_those_of_the_engine(reuse: ReuseOptions) -> None:
    model, seen = small_model(), list[int]()
    other = hooked(model, seen.append)
    assert other.program.engine.plan is model.program.engine.plan and other.program.engine.name == "reference"
    with Session(lambda _: model.program, reuse) as plain, Session(lambda _: other.program, reuse) as session:
        for frame in moving_frames(3):
            for expected, found in zip(
                plain.run(frame.image, frame.motion), session.run(frame.image, frame.motion), strict=True
            ):
                assert torch.equal(expected, found)
            assert (plain.recompute_mask() == session.recompute_mask()).all()
    assert seen == [0, 1, 2]


def test_the_hook_may_fail_a_frame() -> None:
    def before(number: int) -> None:
        if number == 1:
            raise KernelError("as the test asks")

    model = hooked(small_model(), before)
    with Session(lambda _: model.program, ReuseOptions()) as session:
        first, second, third = moving_frames(3)
        session.run(first.image)
        with pytest.raises(KernelError, match="as the test asks"):
            session.run(second.image)
        session.run(third.image)
        assert session.stats.keyframe
