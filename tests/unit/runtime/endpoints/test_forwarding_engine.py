"""An engine in front of another one changes nothing."""

from __future__ import annotations

import torch

from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.forwarding_engine import ForwardingEngine
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine

SIZE = (32, 48)


def test_a_session_cannot_tell_it_from_the_inner_one() -> None:
    inner = FakeEngine(SIZE)
    engine = ForwardingEngine(inner)
    assert (engine.plan, engine.name, engine.torch_device) == (inner.plan, inner.name, inner.torch_device)
    reuse = ReuseOptions(policy="propagated", tau_input=0.0, tau=0.0)
    program = Program(engine, lambda leaves: leaves[0])
    with Session(lambda _: program, reuse, keep_all=True) as session, FakeEngine(SIZE).session(reuse) as alone:
        for seed in range(3):
            image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed))
            assert torch.equal(session.run(image), alone.run(image))
            assert session.stats.compute_ratio == alone.stats.compute_ratio
            assert (session.work_map() == alone.work_map()).all()
    assert len(inner.calls) == 3
