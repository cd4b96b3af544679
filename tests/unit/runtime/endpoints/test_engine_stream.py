"""A stream on an engine: frames whose work is decided, and what they took."""

from __future__ import annotations

import pytest
import torch

from fluxshard.errors import FluxShardError
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.engine_stream import EngineStream, on_cpu
from fluxshard.runtime.endpoints.policies import edge_policy
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine

SIZE = (32, 48)


def test_runs_what_was_decided() -> None:
    engine = FakeEngine(SIZE)
    program = Program(engine, lambda leaves: {"means": leaves[0]})
    stream, policy = EngineStream(program), edge_policy(program, ReuseOptions())
    image = torch.rand(1, 3, *SIZE)
    for index in range(2):
        proposal = policy.propose(image, None if index == 0 else MotionField.zero(*SIZE))
        policy.commit(proposal)
        ran = stream.run(proposal.image, proposal.motion, proposal.control)
        assert torch.equal(ran.outputs["means"], torch.nn.functional.avg_pool2d(image, 8))
        assert ran.counts.keyframe == (index == 0)
        assert ran.compute_ratio == (1.0 if index == 0 else 0.0)
        assert ran.ms == ran.inference_ms + ran.post_ms > 0
    assert engine.calls[1].motion is proposal.motion and engine.calls[1].control is proposal.control
    assert stream.n_bytes == 4 * 3 * 4 * 6
    assert stream.work_map().shape == (4, 6)


def test_work_is_counted_against_the_network_on_the_image() -> None:
    engine = FakeEngine(SIZE)
    program = Program(engine, lambda leaves: leaves[0], dense_macs=2 * engine.plan.macs)
    policy = edge_policy(program, ReuseOptions())
    proposal = policy.propose(torch.rand(1, 3, *SIZE), None)
    assert EngineStream(program).run(proposal.image, None, proposal.control).compute_ratio == 0.5


def test_errors_of_the_engine_are_raised() -> None:
    program = Program(FakeEngine(SIZE, fail_at=0), lambda leaves: leaves[0])
    stream, policy = EngineStream(program), edge_policy(program, ReuseOptions())
    proposal = policy.propose(torch.rand(1, 3, *SIZE), None)
    with pytest.raises(FluxShardError, match="fails at call 0"):
        stream.run(proposal.image, None, proposal.control)
    assert stream.run(proposal.image, None, proposal.control).counts.keyframe


def test_outputs_of_any_structure_on_the_cpu() -> None:
    found = on_cpu({"a": [torch.ones(2), None, 3], "b": (torch.zeros(1),)})
    assert torch.equal(found["a"][0], torch.ones(2)) and found["a"][1:] == [None, 3]
